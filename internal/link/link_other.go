//go:build !linux

package link

import (
	"errors"
	"log/slog"
)

var errNotLinux = errors.New("links are set up on Linux only; on other systems have the agent serve on an address that there is")

// Initialize is for Linux.
func Initialize(*slog.Logger) error { return errNotLinux }

// Remove is for Linux.
func Remove(*slog.Logger) error { return errNotLinux }
