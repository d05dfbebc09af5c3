package cani

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"

	"github.com/podid/podid/internal/identity"
)

func checkReaderRoles(arns []string) error {
	of := map[string]bool{}
	for _, text := range arns {
		arn, _, err := identity.ParseRoleARN(text)
		switch {
		case err != nil:
			return fmt.Errorf("reader role %q: %w", text, err)
		case of[arn.AccountID]:
			return fmt.Errorf("reader role %s: there is one of account %s already", text, arn.AccountID)
		}
		of[arn.AccountID] = true
	}
	return nil
}

// reader begins to read: it finds out whose the credentials are, and assumes the roles by which other accounts are read. A role that
// cannot be assumed is an error, for it would look like permissions that the role lacks.
func (a *Asker) reader(ctx context.Context) (*reader, error) {
	r := newReader(a.cfg.AWS)
	if err := r.findAccount(ctx); err != nil {
		return nil, err
	}
	for _, text := range a.cfg.ReaderRoles {
		arn, _, err := identity.ParseRoleARN(text)
		if err != nil {
			return nil, err // has been checked
		}
		cfg := a.cfg.AWS.Copy()
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(r.sts, text, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "podid-can-i"
		}))
		assuming, cancel := context.WithTimeout(ctx, callTimeout)
		_, err = cfg.Credentials.Retrieve(assuming)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("assuming reader role %s: %w", text, err)
		}
		other := newReader(cfg)
		other.account = arn.AccountID
		r.others = append(r.others, other)
	}
	return r, nil
}

// of is the reader for an account: one of the others if it is of that account.
func (r *reader) of(accountID string) *reader {
	for _, other := range r.others {
		if other.account == accountID {
			return other
		}
	}
	return r
}
