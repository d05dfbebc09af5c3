package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/spf13/cobra"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/podrun"
)

// runOptions are the flags of podid run.
type runOptions struct {
	cluster, file, namespace, serviceAccount, container string
	env                                                 []string
	skipEnvFrom                                         bool
}

func runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [-f POD.yaml | -n NAMESPACE --service-account NAME] [flags] [-- COMMAND [ARG...]]",
		Short: "Run a local command as a pod",
		Long: `Runs a local command as a pod of a cluster: the pod is admitted by the cluster, webhook included, and the command gets the
environment and the service-account token that the pod's container would have. Of this shell it gets only PATH, HOME and TERM, so that
no credentials of yours stand in for the pod's; no ~/.aws, no instance metadata either. Its exit code becomes podid's.

    podid run -n carts --service-account carts -- aws sts get-caller-identity
    podid run -f deployment.yaml -c app -- ./server

It finds the cluster by the EKS API and calls it as you: with podid dev running, set its environment first (. .podid/admin.env).`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runAsPod(cmd.Context(), o, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.cluster, "cluster", "local", "`name` of the cluster")
	flags.StringVarP(&o.file, "file", "f", "", "manifest `file` with a Pod, Deployment, StatefulSet, DaemonSet, Job or CronJob, and its ServiceAccount; - is standard input")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "`namespace` of the pod, if the manifest does not say")
	flags.StringVar(&o.serviceAccount, "service-account", "", "`name` of the service account, without a manifest")
	flags.StringVarP(&o.container, "container", "c", "", "`name` of the container whose environment is taken; else the first")
	flags.StringArrayVar(&o.env, "env", nil, "`NAME=VALUE` to add; stands in for values out of secrets and config maps too")
	flags.SetInterspersed(false) // what follows the command's name is the command's
	flags.BoolVar(&o.skipEnvFrom, "skip-env-from", false, "leave out secrets and config maps that are taken as a whole (envFrom)")
	return cmd
}

func runAsPod(ctx context.Context, o runOptions, command []string) error {
	pod, err := o.pod()
	if err != nil {
		return err
	}
	if o.file == "" && len(command) == 0 {
		return errors.New("give a command: podid run -n NAMESPACE --service-account NAME -- COMMAND")
	}
	kube, err := o.kube(ctx)
	if err != nil {
		return err
	}
	logger, err := newLogger("warn")
	if err != nil {
		return err
	}
	// Signals are the command's to answer, so the context, which they end, must not be what the process lives by.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, podrun.Signals()...)
	process, err := podrun.Start(context.WithoutCancel(ctx), podrun.Config{
		Kube: kube, Pod: pod, Container: o.container, Command: command, Environ: os.Environ(), ExtraEnv: o.env, SkipEnvFrom: o.skipEnvFrom,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Logger: logger,
	})
	if err != nil {
		return fmt.Errorf("running as %s: %w", pod.Origin, err)
	}
	for _, warning := range process.Warnings() {
		fmt.Fprintln(os.Stderr, "podid: warning:", warning)
	}
	o.noteAssociation(process)
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = process.Signal(s) // it may have ended meanwhile
			case <-ended:
				return
			}
		}
	}()
	code, err := process.Wait()
	close(ended)
	if err != nil {
		return err
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

func (o *runOptions) pod() (podrun.Pod, error) {
	switch {
	case o.file != "" && o.serviceAccount != "":
		return podrun.Pod{}, errors.New("give either a manifest (-f) or a service account (--service-account), not both")
	case o.file == "" && o.serviceAccount == "":
		return podrun.Pod{}, errors.New("give a manifest (-f POD.yaml) or a service account (-n NAMESPACE --service-account NAME)")
	case o.file == "":
		return podrun.Bare(identity.ServiceAccount{Namespace: o.namespace, Name: o.serviceAccount})
	}
	var manifest []byte
	var err error
	if o.file == "-" {
		manifest, err = io.ReadAll(os.Stdin)
	} else {
		manifest, err = os.ReadFile(o.file)
	}
	if err != nil {
		return podrun.Pod{}, err
	}
	pod, err := podrun.Load(manifest, o.namespace)
	if err != nil {
		return podrun.Pod{}, fmt.Errorf("%s: %w", o.file, err)
	}
	return pod, nil
}

// noteAssociation tells why the command will find no credentials, if nobody gave it any. Where another container of the pod has
// them, there is an association or a role, and this container was left out on purpose.
func (o *runOptions) noteAssociation(process *podrun.Process) {
	if process.HasCredentials() {
		return
	}
	for _, variable := range []string{`"AWS_CONTAINER_CREDENTIALS_FULL_URI"`, `"AWS_WEB_IDENTITY_TOKEN_FILE"`} {
		if bytes.Contains(process.Admitted(), []byte(variable)) {
			return
		}
	}
	account := process.ServiceAccount()
	fmt.Fprintf(os.Stderr, "podid: note: the cluster %[1]s has no association for %[2]s/%[3]s, and the service account names no role, so this runs without credentials; associate one with: "+
		"aws eks create-pod-identity-association --cluster-name %[1]s --namespace %[2]s --service-account %[3]s --role-arn ROLE_ARN\n",
		o.cluster, account.Namespace, account.Name)
}

// kube finds the cluster's Kubernetes API as the AWS CLI does, and calls it as the AWS caller that this shell is.
func (o *runOptions) kube(ctx context.Context) (*podrun.Kube, error) {
	cfg, err := loadAWS(ctx)
	if err != nil {
		return nil, err
	}
	kube, err := podrun.Connect(ctx, cfg, o.cluster)
	var notFound *types.ResourceNotFoundException
	switch {
	case errors.As(err, &notFound):
		return nil, fmt.Errorf("there is no cluster %s; aws eks list-clusters shows those there are", o.cluster)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, errNotListening(cfg)
	case err != nil:
		return nil, fmt.Errorf("%w (is the environment of podid dev set here? . .podid/admin.env)", err)
	}
	return kube, nil
}
