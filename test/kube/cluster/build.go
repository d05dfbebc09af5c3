package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// CacheVariable is the environment variable that says where the built programs are kept, instead of the user's cache directory.
const CacheVariable = "PODID_KUBE_CACHE"

// pause is the program of this module that does nothing, in whose container a pod's namespaces are kept open.
const pause = "pause"

// programs of Kubernetes that a cluster is made of.
func (c *Config) programs() []string {
	programs := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
	if c.Node {
		programs = append(programs, "kubelet")
	}
	return programs
}

// Build makes the programs of Kubernetes from the module in tools/kubernetes, unless an earlier build of the same version by the same
// compiler is there, and returns the directory that they are in. Start does it too; it is for those who have no network then.
func Build(ctx context.Context, cfg Config) (string, error) {
	if cfg.Say == nil {
		cfg.Say = io.Discard
	}
	dir, err := cfg.build(ctx)
	if err != nil {
		return "", fmt.Errorf("building Kubernetes: %w", err)
	}
	return dir, nil
}

func (c *Config) build(ctx context.Context) (string, error) {
	module := filepath.Join(c.Root, "tools", "kubernetes")
	version, err := goTool(ctx, module, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-trimpath", "-ldflags", linkerFlags(version)}
	key, err := cacheKey(ctx, module, args)
	if err != nil {
		return "", err
	}
	cache := os.Getenv(CacheVariable)
	if cache == "" {
		if cache, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("finding the cache directory (%s names another one): %w", CacheVariable, err)
		}
		cache = filepath.Join(cache, "podid-kube")
	}
	dir := filepath.Join(cache, version+"-"+key)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	var missing []string
	for _, name := range c.programs() {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			missing = append(missing, name)
		}
	}
	if c.Node {
		own := filepath.Join(c.Root, "test", "kube")
		if _, err := goTool(ctx, own, "build", "-trimpath", "-o", filepath.Join(dir, pause), "./cluster/pause"); err != nil {
			return "", err
		}
	}
	if len(missing) == 0 {
		return dir, nil
	}
	fmt.Fprintf(c.Say, "Building %s of Kubernetes %s into %s. This is done once; all of them take about five minutes on two cores.\n",
		strings.Join(missing, ", "), version, dir)
	started := time.Now()
	// A program that is there is a whole one: what a build that was cut off leaves is in another directory.
	partial, err := os.MkdirTemp(dir, "partial-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(partial)
	args = append(args, "-o", partial)
	for _, name := range missing {
		args = append(args, "k8s.io/kubernetes/cmd/"+name)
	}
	if _, err := goTool(ctx, module, args...); err != nil {
		return "", err
	}
	for _, name := range missing {
		if err := os.Rename(filepath.Join(partial, name), filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(c.Say, "Built in %v.\n", time.Since(started).Round(time.Second))
	return dir, nil
}

// linkerFlags make the programs say which version they are: without them they take themselves for v0.0.0.
func linkerFlags(version string) string {
	const variable = "k8s.io/component-base/version.git"
	numbers := strings.Split(strings.TrimPrefix(version, "v"), ".")
	return fmt.Sprintf("-s -w -X %[1]sVersion=%[2]s -X %[1]sMajor=%[3]s -X %[1]sMinor=%[4]s", variable, version, numbers[0], numbers[1])
}

// cacheKey is short for everything that the programs depend on.
func cacheKey(ctx context.Context, module string, args []string) (string, error) {
	compiler, err := goTool(ctx, module, "version")
	if err != nil {
		return "", err
	}
	digest := sha256.New()
	fmt.Fprintln(digest, compiler, args)
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		digest.Write(text)
	}
	return hex.EncodeToString(digest.Sum(nil)[:6]), nil
}

// goTool runs the go command in a module and returns what it prints.
func goTool(ctx context.Context, module string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s in %s: %w\n%s", args[0], module, err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// lock waits until no other process builds into the same directory.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
