package eks_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

const anything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// create is a request for an association of a service account of the same name as its namespace.
func create(account, role string) *eks.CreatePodIdentityAssociationInput {
	return &eks.CreatePodIdentityAssociationInput{
		ClusterName: aws.String(servertest.Cluster), Namespace: &account, ServiceAccount: &account, RoleArn: &role,
	}
}

// refused checks code and status of an error, and that its message names what it is about.
func refused(t *testing.T, err error, code string, status int, names ...string) {
	t.Helper()
	var api smithy.APIError
	var response *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if api.ErrorCode() != code || response.HTTPStatusCode() != status {
		t.Errorf("got %d %s (%s), want %d %s", response.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage(), status, code)
	}
	for _, name := range names {
		if !strings.Contains(api.ErrorMessage(), name) {
			t.Errorf("the message %q does not have %q", api.ErrorMessage(), name)
		}
	}
}

func TestCreatePodIdentityAssociation(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	target := "arn:aws:iam::444455556666:role/team/target"
	before := time.Now().Add(-time.Millisecond)

	full := create("carts", role)
	full.TargetRoleArn, full.DisableSessionTags = &target, aws.Bool(true)
	full.Policy = aws.String("{\"Version\":\"2012-10-17\",\n\t\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"}]}")
	full.Tags = map[string]string{"team": "shop", "Ünïcode": "grün 1/2"}
	full.ClientRequestToken = aws.String("terraform-20231105")
	out, err := client.CreatePodIdentityAssociation(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	got := out.Association
	id := *got.AssociationId
	if !identity.ValidAssociationID(id) {
		t.Errorf("association id %q", id)
	}
	want := &types.PodIdentityAssociation{
		AssociationId: got.AssociationId, AssociationArn: aws.String("arn:aws:eks:us-west-2:111122223333:podidentityassociation/local/" + id),
		ClusterName: aws.String("local"), Namespace: aws.String("carts"), ServiceAccount: aws.String("carts"),
		RoleArn: &role, TargetRoleArn: &target, ExternalId: aws.String("us-west-2/111122223333/local/carts/carts"),
		DisableSessionTags: aws.Bool(true), Policy: full.Policy, Tags: full.Tags, CreatedAt: got.CreatedAt, ModifiedAt: got.CreatedAt,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.PodIdentityAssociation{})); diff != "" {
		t.Errorf("created, want - got +:\n%s", diff)
	}
	if got.CreatedAt.Before(before) || got.CreatedAt.After(time.Now()) {
		t.Errorf("created at %v, which is not now", got.CreatedAt)
	}
	described, err := client.DescribePodIdentityAssociation(t.Context(), &eks.DescribePodIdentityAssociationInput{ClusterName: full.ClusterName, AssociationId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, described.Association, cmpopts.IgnoreUnexported(types.PodIdentityAssociation{})); diff != "" {
		t.Errorf("created and described differ:\n%s", diff)
	}

	plain, err := client.CreatePodIdentityAssociation(t.Context(), create("plain", role))
	if err != nil {
		t.Fatal(err)
	}
	a := plain.Association
	if a.TargetRoleArn != nil || a.ExternalId != nil || a.Policy != nil || a.OwnerArn != nil {
		t.Errorf("members that were not asked for: %+v", a)
	}
	if a.DisableSessionTags == nil || *a.DisableSessionTags || a.Tags == nil || len(a.Tags) != 0 {
		t.Errorf("disableSessionTags %v, tags %v, want both there and empty", a.DisableSessionTags, a.Tags)
	}

	_, err = client.CreatePodIdentityAssociation(t.Context(), create("carts", role))
	refused(t, err, "ResourceInUseException", http.StatusConflict)
	var inUse *types.ResourceInUseException
	if errors.As(err, &inUse) && (inUse.ErrorMessage() != "Association already exists: "+id || aws.ToString(inUse.ClusterName) != "local") {
		t.Errorf("got %q of cluster %q", inUse.ErrorMessage(), aws.ToString(inUse.ClusterName))
	}
}

func TestCreateRefuses(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("good", servertest.PodTrust, "")
	service := func(principal, actions string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + principal + `"},"Action":` + actions + `}]}`
	}
	untagged := s.MakeRole("untagged", service("pods.eks.amazonaws.com", `"sts:AssumeRole"`), "")
	stranger := s.MakeRole("stranger", service("ec2.amazonaws.com", `["sts:AssumeRole","sts:TagSession"]`), "")
	type input = eks.CreatePodIdentityAssociationInput
	many := map[string]string{}
	for i := range 51 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	const parameter, notFound = "InvalidParameterException", "ResourceNotFoundException"
	for name, tt := range map[string]struct {
		change func(*input)
		code   string
		status int
		names  string
	}{
		"unknown cluster":          {func(in *input) { in.ClusterName = aws.String("demo") }, notFound, 404, "No cluster found for name: demo."},
		"impossible cluster name":  {func(in *input) { in.ClusterName = aws.String("-demo") }, parameter, 400, "-demo"},
		"cluster name too long":    {func(in *input) { in.ClusterName = aws.String(strings.Repeat("c", 101)) }, parameter, 400, "cccc"},
		"namespace in capitals":    {func(in *input) { in.Namespace = aws.String("Carts") }, parameter, 400, "Carts"},
		"namespace empty":          {func(in *input) { in.Namespace = aws.String("") }, parameter, 400, "namespace"},
		"namespace too long":       {func(in *input) { in.Namespace = aws.String(strings.Repeat("n", 64)) }, parameter, 400, "nnnn"},
		"namespace with a slash":   {func(in *input) { in.Namespace = aws.String("a/b") }, parameter, 400, "a/b"},
		"service account empty":    {func(in *input) { in.ServiceAccount = aws.String("") }, parameter, 400, "service account"},
		"service account with _":   {func(in *input) { in.ServiceAccount = aws.String("a_b") }, parameter, 400, "a_b"},
		"service account too long": {func(in *input) { in.ServiceAccount = aws.String(strings.Repeat("s", 254)) }, parameter, 400, "ssss"},
		"service account wildcard": {func(in *input) { in.ServiceAccount = aws.String("*") }, parameter, 400, "*"},
		"role is no ARN":           {func(in *input) { in.RoleArn = aws.String("good") }, parameter, 400, "good"},
		"role is a user":           {func(in *input) { in.RoleArn = aws.String("arn:aws:iam::111122223333:user/admin") }, parameter, 400, "user/admin"},
		"role of another account":  {func(in *input) { in.RoleArn = aws.String("arn:aws:iam::444455556666:role/good") }, parameter, 400, "arn:aws:iam::444455556666:role/good"},
		"role missing":             {func(in *input) { in.RoleArn = aws.String(role + "x") }, parameter, 400, "Role provided in the request does not exist"},
		"role under another path":  {func(in *input) { in.RoleArn = aws.String("arn:aws:iam::111122223333:role/team/good") }, parameter, 400, "Role provided in the request does not exist"},
		"role for another service": {func(in *input) { in.RoleArn = &stranger }, parameter, 400, "Trust policy of the role provided is invalid"},
		"role without TagSession":  {func(in *input) { in.RoleArn = &untagged }, parameter, 400, "sts:TagSession"},
		"target role is no ARN":    {func(in *input) { in.TargetRoleArn = aws.String("target") }, parameter, 400, "target"},
		"policy with session tags": {func(in *input) { in.Policy = aws.String(anything) }, parameter, 400, "disableSessionTags must be true when policy is specified"},
		"policy is no JSON":        {func(in *input) { in.DisableSessionTags, in.Policy = aws.Bool(true), aws.String("{") }, parameter, 400, "policy"},
		"policy with a principal":  {func(in *input) { in.DisableSessionTags, in.Policy = aws.Bool(true), aws.String(servertest.PodTrust) }, parameter, 400, "policy"},
		"policy too long": {func(in *input) {
			in.DisableSessionTags, in.Policy = aws.Bool(true), aws.String(anything+strings.Repeat(" ", 2048))
		}, parameter, 400, "2048"},
		"tag with reserved key":      {func(in *input) { in.Tags = map[string]string{"aws:x": ""} }, parameter, 400, "aws:x"},
		"tag key too long":           {func(in *input) { in.Tags = map[string]string{strings.Repeat("k", 129): ""} }, parameter, 400, "128"},
		"tag value too long":         {func(in *input) { in.Tags = map[string]string{"k": strings.Repeat("v", 257)} }, parameter, 400, "256"},
		"51 tags":                    {func(in *input) { in.Tags = many }, parameter, 400, "50"},
		"client request token":       {func(in *input) { in.ClientRequestToken = aws.String(strings.Repeat("t", 257)) }, parameter, 400, "clientRequestToken"},
		"everything wrong at a time": {func(in *input) { *in = *create("", "") }, parameter, 400, "namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			in := create("shop", role)
			tt.change(in)
			_, err := client.CreatePodIdentityAssociation(t.Context(), in)
			refused(t, err, tt.code, tt.status, tt.names)
		})
	}
	list, err := client.ListPodIdentityAssociations(t.Context(), &eks.ListPodIdentityAssociationsInput{ClusterName: aws.String("local")})
	if err != nil || len(list.Associations) != 0 {
		t.Errorf("what was refused has left %v (%v)", list.Associations, err)
	}

	t.Run("and takes what is just allowed", func(t *testing.T) {
		longest := create(strings.Repeat("n", 63), untagged)
		longest.ServiceAccount = aws.String(strings.Repeat("s", 63) + "." + strings.Repeat("s.", 94) + "s")
		longest.DisableSessionTags = aws.Bool(true)
		longest.Policy = aws.String(anything + strings.Repeat(" ", 2048-len(anything)))
		delete(many, "k")
		longest.Tags = many
		if _, err := client.CreatePodIdentityAssociation(t.Context(), longest); err != nil {
			t.Error(err)
		}
	})
}

// Associations are handed out by those who may pass the role, and no others.
func TestCreateNeedsPermission(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	createOnly := `{"Effect":"Allow","Action":"eks:CreatePodIdentityAssociation","Resource":"arn:aws:eks:us-west-2:111122223333:cluster/local"}`
	pass := func(service string) string {
		return `{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + role + `","Condition":{"StringEquals":{"iam:PassedToService":"` + service + `"}}}`
	}
	policy := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	}
	for name, tt := range map[string]struct{ policy, names string }{
		"nothing":            {policy(`{"Effect":"Allow","Action":"eks:Describe*","Resource":"*"}`), "eks:CreatePodIdentityAssociation on resource: arn:aws:eks:us-west-2:111122223333:cluster/local"},
		"no-pass-role":       {policy(createOnly), "iam:PassRole on resource: " + role},
		"pass-other-service": {policy(createOnly, pass("ec2.amazonaws.com")), "iam:PassRole on resource: " + role},
	} {
		_, err := eks.NewFromConfig(s.Limited(name, tt.policy)).CreatePodIdentityAssociation(t.Context(), create(name, role))
		refused(t, err, "AccessDeniedException", http.StatusForbidden,
			"User: arn:aws:sts::111122223333:assumed-role/"+name+"/limited is not authorized to perform: "+tt.names)
	}
	client := eks.NewFromConfig(s.Limited("enough", policy(createOnly, pass("pods.eks.amazonaws.com"))))
	out, err := client.CreatePodIdentityAssociation(t.Context(), create("carts", role))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.DescribePodIdentityAssociation(t.Context(), &eks.DescribePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: out.Association.AssociationId})
	refused(t, err, "AccessDeniedException", http.StatusForbidden, "eks:DescribePodIdentityAssociation on resource: "+*out.Association.AssociationArn)
}

func TestAssociationLimit(t *testing.T) {
	s := servertest.New(t, func(cfg *server.Config) { cfg.AssociationLimit = 2 })
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	var ids []string
	for _, account := range []string{"a", "b"} {
		ids = append(ids, s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: account, Name: account}, role, nil))
	}
	_, err := client.CreatePodIdentityAssociation(t.Context(), create("c", role))
	refused(t, err, "ResourceLimitExceededException", http.StatusBadRequest, "2", "local")
	other := create("c", role)
	other.ClusterName = aws.String(servertest.Other)
	if _, err := client.CreatePodIdentityAssociation(t.Context(), other); err != nil {
		t.Errorf("the limit is not each cluster's own: %v", err)
	}
	if _, err := client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: &ids[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreatePodIdentityAssociation(t.Context(), create("c", role)); err != nil {
		t.Errorf("a deleted association still counts: %v", err)
	}
}

func TestClientRequestToken(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	request := func(account string) *eks.CreatePodIdentityAssociationInput {
		in := create(account, role)
		in.ClientRequestToken = aws.String("token/with ä and \x00")
		return in
	}
	first, err := client.CreatePodIdentityAssociation(t.Context(), request("carts"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := client.CreatePodIdentityAssociation(t.Context(), request("carts"))
	if err != nil || *again.Association.AssociationId != *first.Association.AssociationId {
		t.Fatalf("sent again: %v (%v), want %s", again, err, *first.Association.AssociationId)
	}
	for name, change := range map[string]func(*eks.CreatePodIdentityAssociationInput){
		"other service account": func(in *eks.CreatePodIdentityAssociationInput) { in.ServiceAccount = aws.String("other") },
		"tags":                  func(in *eks.CreatePodIdentityAssociationInput) { in.Tags = map[string]string{"a": "b"} },
		"disableSessionTags":    func(in *eks.CreatePodIdentityAssociationInput) { in.DisableSessionTags = aws.Bool(true) },
		"targetRoleArn":         func(in *eks.CreatePodIdentityAssociationInput) { in.TargetRoleArn = &role },
	} {
		in := request("carts")
		change(in)
		_, err := client.CreatePodIdentityAssociation(t.Context(), in)
		t.Log(name)
		refused(t, err, "InvalidRequestException", http.StatusBadRequest, "clientRequestToken")
	}
	elsewhere := request("carts")
	elsewhere.ClusterName = aws.String(servertest.Other)
	if out, err := client.CreatePodIdentityAssociation(t.Context(), elsewhere); err != nil || *out.Association.ClusterName != servertest.Other {
		t.Errorf("the token in another cluster: %v", err)
	}
	if _, err := client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: first.Association.AssociationId}); err != nil {
		t.Fatal(err)
	}
	fresh, err := client.CreatePodIdentityAssociation(t.Context(), request("shop"))
	if err != nil || *fresh.Association.AssociationId == *first.Association.AssociationId {
		t.Errorf("the token after its association was deleted: %v", err)
	}
}

// createAll sends requests at the same time.
func createAll(ctx context.Context, client *eks.Client, requests []*eks.CreatePodIdentityAssociationInput) ([]*types.PodIdentityAssociation, []error) {
	made, errs := make([]*types.PodIdentityAssociation, len(requests)), make([]error, len(requests))
	var group sync.WaitGroup
	start := make(chan struct{})
	for i, in := range requests {
		group.Go(func() {
			<-start
			out, err := client.CreatePodIdentityAssociation(ctx, in)
			if errs[i] = err; err == nil {
				made[i] = out.Association
			}
		})
	}
	close(start)
	group.Wait()
	return made, errs
}

func TestCreateAtTheSameTime(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")

	t.Run("one service account", func(t *testing.T) {
		var requests []*eks.CreatePodIdentityAssociationInput
		for range 8 {
			requests = append(requests, create("one", role))
		}
		made, errs := createAll(t.Context(), client, requests)
		winner := ""
		for _, a := range made {
			if a != nil && winner != "" {
				t.Error("two requests won")
			} else if a != nil {
				winner = *a.AssociationId
			}
		}
		for _, err := range errs {
			if err != nil {
				refused(t, err, "ResourceInUseException", http.StatusConflict, "Association already exists: "+winner)
			}
		}
		if winner == "" {
			t.Error("no request won")
		}
	})
	t.Run("one token", func(t *testing.T) {
		var requests []*eks.CreatePodIdentityAssociationInput
		for range 8 {
			in := create("token", role)
			in.ClientRequestToken = aws.String("same")
			requests = append(requests, in)
		}
		made, errs := createAll(t.Context(), client, requests)
		for i, a := range made {
			if errs[i] != nil || *a.AssociationId != *made[0].AssociationId {
				t.Errorf("got %v (%v), want the same association every time", a, errs[i])
			}
		}
	})
	t.Run("one token for many service accounts", func(t *testing.T) {
		var requests []*eks.CreatePodIdentityAssociationInput
		for _, account := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			in := create(account, role)
			in.ClientRequestToken = aws.String("shared")
			requests = append(requests, in)
		}
		made, errs := createAll(t.Context(), client, requests)
		won := 0
		for i, a := range made {
			if a != nil {
				won++
				continue
			}
			refused(t, errs[i], "InvalidRequestException", http.StatusBadRequest, "clientRequestToken")
		}
		if won != 1 {
			t.Errorf("%d requests won, want 1", won)
		}
	})
}
