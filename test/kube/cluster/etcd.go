package cluster

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	etcdSocket = "etcd.sock"
	etcdLog    = "etcd.log"
)

// startEtcd starts an etcd of one member in this process, on a Unix socket in dir.
func startEtcd(ctx context.Context, dir string) (*embed.Etcd, error) {
	self := url.URL{Scheme: "unix", Path: filepath.Join(dir, etcdSocket)}
	c := embed.NewConfig()
	c.Name, c.Dir = "kube", filepath.Join(dir, "etcd")
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{self}, []url.URL{self}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{self} // a member must have an address for its peers; there are none
	c.InitialCluster = c.Name + "=" + self.String()
	c.TickMs, c.ElectionMs = 10, 100 // alone, there is nobody to wait for
	c.UnsafeNoFsync = true
	c.LogLevel, c.LogOutputs = "warn", []string{filepath.Join(dir, etcdLog)}
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case <-etcd.Server.StopNotify():
		err = errors.New("it stopped by itself")
	case err = <-etcd.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	etcd.Close()
	return nil, err
}
