package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

const (
	quota     = 2 << 30 // bytes of the database at which etcd refuses writes
	retention = "1h"    // how long old revisions are kept, for watches to resume from
)

// embedded starts an etcd of one member that listens nowhere: it is reached by function calls only.
func embedded(ctx context.Context, cfg Config, log *slog.Logger) (*clientv3.Client, func() error, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("creating the data directory: %w", err)
	}
	locked, err := lock(cfg.DataDir)
	if err != nil {
		return nil, nil, err
	}
	etcd, err := start(ctx, filepath.Join(cfg.DataDir, "etcd"), cfg.UnsafeNoSync, log)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("starting etcd in %s: %w", cfg.DataDir, err), locked.Close())
	}
	stop := func() error {
		etcd.Close()
		return locked.Close()
	}
	return v3client.New(etcd.Server), stop, nil
}

func start(ctx context.Context, dir string, unsafeNoSync bool, log *slog.Logger) (*embed.Etcd, error) {
	self := url.URL{Scheme: "unix", Path: "/podid"} // a member must have an address; nobody dials this one
	c := embed.NewConfig()
	c.Name = "podid"
	c.Dir = dir
	c.ListenClientUrls, c.ListenPeerUrls = nil, nil
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = []url.URL{self}, []url.URL{self}
	c.InitialCluster = c.Name + "=" + self.String()
	c.TickMs, c.ElectionMs = 10, 100 // alone, there is nobody to wait for: ready in 30 ms instead of 340
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, retention
	c.QuotaBackendBytes = quota
	c.UnsafeNoFsync = unsafeNoSync
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(log))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case <-etcd.Server.StopNotify():
		err = errors.New("etcd stopped by itself")
	case err = <-etcd.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	etcd.Close()
	return nil, err
}

// lock takes the data directory for this process. etcd would take it too, but it waits without end and without a word.
// The lock goes with the process; the number written into the file is for the error only.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		_ = f.Close()
		return nil, fmt.Errorf("data directory %s %w (process %s)", dir, ErrLocked, strings.TrimSpace(string(holder)))
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("locking the data directory %s: %w", dir, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
	return f, nil
}

// external connects to an etcd cluster and makes sure that it answers, and that it is etcd.
func external(ctx context.Context, cfg Config, log *slog.Logger) (*clientv3.Client, func() error, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  cfg.TLS,
		Username:             cfg.Username,
		Password:             cfg.Password.Reveal(),
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zapLogger(log),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	// A transaction of two reads is ordinary for etcd. Servers that know only the three transactions of Kubernetes, such as kine,
	// refuse it, and would fail later in stranger ways.
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = client.Txn(ctx).Then(clientv3.OpGet(root), clientv3.OpGet(root, clientv3.WithPrefix(), clientv3.WithCountOnly())).Commit()
	if err != nil {
		_ = client.Close()
		return nil, nil, fmt.Errorf("asking etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	return client, func() error { return nil }, nil
}
