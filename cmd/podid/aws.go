package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// loadAWS finds endpoint, region and credentials where every AWS program has them.
func loadAWS(ctx context.Context) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return aws.Config{}, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return aws.Config{}, errors.New("no AWS region is set here; with podid dev running, use its environment: . .podid/admin.env")
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return aws.Config{}, fmt.Errorf("no AWS credentials are set here; with podid dev running, use its environment: . .podid/admin.env (%w)", err)
	}
	return cfg, nil
}

func errNotListening(cfg aws.Config) error {
	return fmt.Errorf("nothing listens at %s; is podid dev running, and is its environment set here (. .podid/admin.env)?",
		cmp.Or(aws.ToString(cfg.BaseEndpoint), "the EKS API's address"))
}
