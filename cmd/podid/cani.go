package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/podid/podid/internal/cani"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// Exit codes of can-i and who-can, for scripts: that it could not be found out must not look like a no.
const (
	exitDenied  = 1
	exitUnknown = 2
)

// questionOptions are the flags of podid can-i and podid who-can.
type questionOptions struct {
	cluster, serviceAccount, principal, role, podName, podUID, output string
	resourcePolicy, resourceAccount                                   string
	context, readerRoles                                              []string
	realAWS                                                           bool
}

func (o *questionOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.cluster, "cluster", "local", "`name` of the cluster")
	flags.StringArrayVar(&o.context, "context", nil, "condition `key=value` that the request has, such as s3:prefix=logs/; may be repeated")
	flags.StringVar(&o.resourcePolicy, "resource-policy", "", "`file` with the policy of the resource; none says that it has none")
	flags.StringVar(&o.resourceAccount, "resource-account", "", "`account` that owns the resource, if its ARN does not say so")
	flags.StringArrayVar(&o.readerRoles, "reader-role", nil, "`ARN` of a role of another account, by which what is there is read; may be repeated")
	flags.BoolVar(&o.realAWS, "aws", false, "ask AWS, also where an endpoint of podid is set here")
	flags.StringVarP(&o.output, "output", "o", "text", "`format` of the answer: text or json")
	cmd.Annotations = map[string]string{errorExitCode: fmt.Sprint(exitUnknown)}
}

func canICommand() *cobra.Command {
	var o questionOptions
	cmd := &cobra.Command{
		Use:   "can-i ACTION RESOURCE (--service-account NAMESPACE/NAME | --principal ARN | --role ARN)",
		Short: "Tell whether a pod may do something, and which link is broken if not",
		Long: `Tells whether the pods of a service account may do an action on a resource: allowed or denied, and the path from the association
over trust policy, target role, permissions, session policy, permissions boundary and the resource's own policy. It only reads,
through the EKS, IAM and S3 APIs of podid or AWS, and evaluates the policies itself, with the session tags that a pod would have.

    podid can-i s3:GetObject arn:aws:s3:::demo/test-file-1.md --service-account carts/carts
    podid can-i s3:ListBucket arn:aws:s3:::demo --service-account carts/carts --context s3:prefix=logs/
    podid can-i sqs:SendMessage arn:aws:sqs:us-west-2:111122223333:jobs --principal arn:aws:iam::111122223333:user/ann --resource-policy jobs.json

The exit code is 0 for allowed, 1 for denied, and 2 where it could not be found out, for instance because you may not read a policy.
Policies of organizations and of network endpoints are not looked at.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return canI(cmd.Context(), cmd.OutOrStdout(), o, args) },
	}
	o.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.serviceAccount, "service-account", "", "`NAMESPACE/NAME` of the pod's service account")
	flags.StringVar(&o.principal, "principal", "", "`ARN` of a user, a role, a role's session or a root user: ask about it instead")
	flags.StringVar(&o.role, "role", "", "`ARN` of a role: as --principal")
	flags.StringVar(&o.podName, "pod", "", "`name` of the pod, where policies ask for it")
	flags.StringVar(&o.podUID, "pod-uid", "", "`UID` of the pod, where policies ask for it")
	return cmd
}

func whoCanCommand() *cobra.Command {
	var o questionOptions
	cmd := &cobra.Command{
		Use:   "who-can ACTION RESOURCE",
		Short: "List the service accounts of a cluster whose pods may do something",
		Long: `Lists the service accounts of a cluster whose pods may do an action on a resource, and the role by which they may. See can-i for what is
looked at. The exit code is 2 if it could not be found out for all of them.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return whoCan(cmd.Context(), cmd.OutOrStdout(), o, args)
		},
	}
	o.addFlags(cmd)
	return cmd
}

func canI(ctx context.Context, out io.Writer, o questionOptions, args []string) error {
	given := 0
	for _, who := range []string{o.serviceAccount, o.principal, o.role} {
		if who != "" {
			given++
		}
	}
	if given != 1 {
		return errors.New("give either a service account (--service-account NAMESPACE/NAME) or a principal (--principal ARN, --role ARN)")
	}
	if _, _, err := identity.ParseRoleARN(o.role); o.role != "" && err != nil {
		return fmt.Errorf("role %q: %w", o.role, err)
	}
	var answer *cani.Answer
	err := o.ask(ctx, args, func(asker *cani.Asker, req cani.Request) (err error) {
		if arn := cmp.Or(o.principal, o.role); arn != "" {
			answer, err = asker.Principal(ctx, arn, req)
			return err
		}
		namespace, name, ok := strings.Cut(o.serviceAccount, "/")
		if !ok {
			return fmt.Errorf("service account %q: want NAMESPACE/NAME", o.serviceAccount)
		}
		pod := identity.Subject{ServiceAccount: identity.ServiceAccount{Namespace: namespace, Name: name}, PodName: o.podName, PodUID: o.podUID}
		answer, err = asker.Pod(ctx, o.cluster, pod, req)
		return err
	})
	if err != nil {
		return err
	}
	if o.output == "json" {
		err = writeJSON(out, answer)
	} else {
		_, err = fmt.Fprint(out, answer)
	}
	switch {
	case err != nil:
		return err
	case answer.Verdict == cani.Unknown:
		return fmt.Errorf("it could not be established: %s", answer.Broken().Why)
	case answer.Verdict != cani.Allowed:
		return exitCode(exitDenied)
	}
	return nil
}

// whoCanOutput is what who-can prints as JSON.
type whoCanOutput struct {
	Allowed []*cani.Answer `json:"allowed"`
	Unknown []*cani.Answer `json:"unknown"` // for whom it could not be established
}

func whoCan(ctx context.Context, out io.Writer, o questionOptions, args []string) error {
	found := whoCanOutput{[]*cani.Answer{}, []*cani.Answer{}}
	err := o.ask(ctx, args, func(asker *cani.Asker, req cani.Request) error {
		answers, err := asker.Who(ctx, o.cluster, req)
		for _, answer := range answers {
			switch answer.Verdict {
			case cani.Allowed:
				found.Allowed = append(found.Allowed, answer)
			case cani.Unknown:
				found.Unknown = append(found.Unknown, answer)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if o.output == "json" {
		err = writeJSON(out, found)
	} else {
		table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "NAMESPACE\tSERVICE ACCOUNT\tROLE\tASSOCIATION")
		for _, a := range found.Allowed {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", a.Namespace, a.ServiceAccount, a.Role, a.Association)
		}
		err = table.Flush()
	}
	if err != nil || len(found.Unknown) == 0 {
		return err
	}
	first := found.Unknown[0]
	return fmt.Errorf("for %d more it could not be established, the first is %s/%s: %s",
		len(found.Unknown), first.Namespace, first.ServiceAccount, first.Broken().Why)
}

// ask checks what both commands have in common, and puts the question.
func (o *questionOptions) ask(ctx context.Context, args []string, put func(*cani.Asker, cani.Request) error) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("output %q: want text or json", o.output)
	}
	req := cani.Request{Action: args[0], Resource: args[1], ResourceAccount: o.resourceAccount, Context: map[string][]string{}}
	if o.resourcePolicy != "" {
		text, err := readPolicy(o.resourcePolicy)
		if err != nil {
			return err
		}
		req.ResourcePolicy = &text
	}
	for _, pair := range o.context {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("context %q: want KEY=VALUE", pair)
		}
		req.Context[key] = append(req.Context[key], value)
	}
	if err := req.Validate(); err != nil {
		return err
	}
	if o.realAWS {
		// Also for the calls that getting credentials may take. See https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html.
		if err := os.Setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"); err != nil {
			return err
		}
	}
	cfg, err := loadAWS(ctx)
	if err != nil {
		return err
	}
	asker, err := cani.New(cani.Config{AWS: cfg, ReaderRoles: o.readerRoles, Now: time.Now})
	if err != nil {
		return err
	}
	err = put(asker, req)
	if errors.Is(err, syscall.ECONNREFUSED) && !o.realAWS {
		return errNotListening(cfg)
	}
	return err
}

// readPolicy reads the file of --resource-policy; none is no file.
func readPolicy(name string) (string, error) {
	if name == "none" {
		return "", nil
	}
	file, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("resource policy: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, policy.MaxLength*utf8.UTFMax+1)) // a longer one is refused when it is parsed
	switch {
	case err != nil:
		return "", fmt.Errorf("resource policy: %w", err)
	case len(text) == 0:
		return "", fmt.Errorf("resource policy: %s is empty; if the resource has no policy, give none", name)
	}
	return string(text), nil
}

func writeJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
