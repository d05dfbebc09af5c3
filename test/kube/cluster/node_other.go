//go:build !linux

package cluster

import (
	"context"
	"errors"
)

var errNoNode = errors.New("a node needs Linux")

// Isolated is false here.
func Isolated() bool { return false }

// Isolate fails here.
func Isolate(...string) (int, error) { return 0, errNoNode }

// ImportImage fails here.
func (c *Cluster) ImportImage(context.Context, Image) error { return errNoNode }

func prepareNode() error { return errNoNode }

func (c *Cluster) startNode(context.Context, string) error { return errNoNode }

func unmount(string) error { return nil }
