package token

import (
	"errors"
	"time"
)

// ErrUnavailable means that the issuer's keys could not be had, so that nothing is known about the token. It is wrapped with the cause.
var ErrUnavailable = errors.New("the issuer's keys are not available")

// InvalidError is the answer to a token that is not good and will not be.
type InvalidError struct {
	Reason string // what is wrong, as a sentence about "it"; never holds a part of the token beyond its issuer and key id
}

// Error returns the reason.
func (e *InvalidError) Error() string { return "the token is not valid: " + e.Reason }

// ExpiredError is the answer to a token that was good.
type ExpiredError struct {
	Now       time.Time
	ExpiresAt time.Time
}

// Error returns the text in which AWS says it.
func (e *ExpiredError) Error() string {
	return "The token included in the request is expired: current date/time " + e.Now.UTC().Format("2006-01-02T15:04:05.000000Z") +
		" must be before the expiration date/time " + e.ExpiresAt.UTC().Format(time.RFC3339) + "."
}
