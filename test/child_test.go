package test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// child is what the test binary does when it stands for a program of a user; the result is its exit code.
func child(what string) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch what {
	case "whoami":
		return whoami(ctx)
	case "wrong-app":
		return wrongApp(ctx)
	case "floor":
		fmt.Println(serveFloor(os.Args[3:])) // until it is killed
		return 1
	}
	return 2
}

// noCredentials is the exit code of whoami where the SDK's default chain finds none.
const noCredentials = 3

// whoami prints the ARN that the SDK's default chain gives it.
func whoami(ctx context.Context) int {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		fmt.Println(err)
		return noCredentials
	}
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(aws.ToString(out.Arn))
	return 0
}

// wrongApp is an application that is not list-files, although it listens as that does.
func wrongApp(ctx context.Context) int {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", os.Getenv("ADDR"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	fmt.Println(server.Serve(listener))
	return 1
}
