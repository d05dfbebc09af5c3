package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"path/filepath"

	"github.com/podid/podid/internal/audit"
	"github.com/podid/podid/internal/authn"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/s3front"
	"github.com/podid/podid/internal/sigv4"
	"github.com/podid/podid/internal/wire"
)

// newS3 opens the embedded S3, which judges callers as all services do, and records each permission that was asked for.
func (s *Server) newS3(log *audit.Log) (*s3front.Handler, error) {
	return s3front.New(s3front.Config{
		Dir: filepath.Join(s.cfg.DataDir, "s3"), Region: s.cfg.Region, AccountID: s.cfg.AccountID, Now: s.cfg.Now, Logger: s.cfg.Logger,
		Resolve: func(_ context.Context, sig *sigv4.Signature) (*identity.Caller, sigv4.Key, error) {
			caller, key, err := s.authn.Resolve(sig)
			return caller, key, s3Failure(err, sig)
		},
		PrincipalID: s.directory.PrincipalID, ShowPolicy: s.directory.ShowPolicy,
		Authorize: func(_ context.Context, caller *identity.Caller, r *http.Request, need s3front.Access) (string, error) {
			request := wire.Describe(r, s.cfg.Now())
			request.Caller, request.Region = caller, s.cfg.Region
			s.authn.Note(caller, "s3", s.cfg.Region)
			why, err := s.directory.Authorize(&request, directory.Access{
				Action: need.Action, Resource: need.Resource, AccountID: s.cfg.AccountID, Policy: need.Policy,
				Keys: func(context *policy.Context) {
					for key, value := range need.Keys {
						context.Set(key, value)
					}
				},
			})
			if err != nil {
				return "", err
			}
			entry := &audit.Entry{
				Time: request.Time, RequestID: identity.NewUUID(rand.Reader), Service: "s3", Operation: need.Action, Resource: need.Resource,
				SourceIP: request.SourceIP, UserAgent: request.UserAgent, Caller: caller.ARN, AccessKey: caller.AccessKeyID, Status: http.StatusOK,
			}
			if !why.Decision.Allowed {
				entry.Status, entry.Code = http.StatusForbidden, "AccessDenied"
				entry.Message, entry.Reason = why.Decision.Message(caller.ARN), why.String()
			}
			return entry.Message, log.Append(entry)
		},
	})
}

// s3Failure gives a failure of authentication the names that the S3 front knows.
func s3Failure(err error, sig *sigv4.Signature) error {
	var failure *authn.Failure
	if !errors.As(err, &failure) {
		return err
	}
	switch {
	case failure.Kind == authn.ExpiredSession:
		return s3front.ErrExpiredToken
	case sig.SecurityToken != "":
		return s3front.ErrInvalidToken
	default:
		return s3front.ErrUnknownKey
	}
}
