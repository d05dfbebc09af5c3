//go:build !linux

package agent

import "syscall"

// freeBind is for Linux: elsewhere an address must be there when the agent starts.
func freeBind(string, string, syscall.RawConn) error { return nil }
