package eks_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server/servertest"
)

var sameAssociation = cmpopts.IgnoreUnexported(types.PodIdentityAssociation{})

func TestUpdatePodIdentityAssociation(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role, other := s.MakeRole("carts", servertest.PodTrust, ""), s.MakeRole("other", servertest.PodTrust, "")
	untagged := s.MakeRole("untagged", strings.ReplaceAll(servertest.PodTrust, `,"sts:TagSession"`, ""), "")
	target := "arn:aws:iam::444455556666:role/target"
	in := create("carts", role)
	in.Tags = map[string]string{"team": "shop"}
	made, err := client.CreatePodIdentityAssociation(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	last := made.Association
	type input = eks.UpdatePodIdentityAssociationInput
	// update sends a change and checks that want, applied to the state before, is what comes back and what is there then.
	update := func(change func(*input), want func(*types.PodIdentityAssociation)) {
		t.Helper()
		in := &input{ClusterName: aws.String("local"), AssociationId: last.AssociationId}
		change(in)
		out, err := client.UpdatePodIdentityAssociation(t.Context(), in)
		if err != nil {
			t.Errorf("updating: %v", err)
			return
		}
		expected := *last
		if want != nil {
			want(&expected)
			expected.ModifiedAt = out.Association.ModifiedAt
			if !out.Association.ModifiedAt.After(*last.CreatedAt) {
				t.Errorf("modified at %v, and created at %v", out.Association.ModifiedAt, last.CreatedAt)
			}
		}
		described, err := client.DescribePodIdentityAssociation(t.Context(), &eks.DescribePodIdentityAssociationInput{ClusterName: in.ClusterName, AssociationId: in.AssociationId})
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []*types.PodIdentityAssociation{out.Association, described.Association} {
			if diff := cmp.Diff(&expected, got, sameAssociation); diff != "" {
				t.Errorf("updated, want - got +:\n%s", diff)
			}
		}
		last = out.Association
	}
	fails := func(change func(*input), names ...string) {
		t.Helper()
		in := &input{ClusterName: aws.String("local"), AssociationId: last.AssociationId}
		change(in)
		_, err := client.UpdatePodIdentityAssociation(t.Context(), in)
		refused(t, err, "InvalidParameterException", http.StatusBadRequest, names...)
		update(func(*input) {}, nil) // nothing has changed
	}

	update(func(*input) {}, nil)
	update(func(in *input) { in.RoleArn, in.DisableSessionTags = &role, aws.Bool(false) }, nil) // as eksctl does
	update(func(in *input) { in.TargetRoleArn, in.Policy = aws.String(""), aws.String("") }, nil)
	update(func(in *input) { in.RoleArn = &other }, func(a *types.PodIdentityAssociation) { a.RoleArn = &other })
	update(func(in *input) { in.TargetRoleArn = &target }, func(a *types.PodIdentityAssociation) {
		a.TargetRoleArn, a.ExternalId = &target, aws.String("us-west-2/111122223333/local/carts/carts")
	})
	update(func(in *input) { in.RoleArn = &role }, func(a *types.PodIdentityAssociation) { a.RoleArn = &role })
	update(func(in *input) { in.TargetRoleArn = aws.String("") }, func(a *types.PodIdentityAssociation) { a.TargetRoleArn, a.ExternalId = nil, nil })

	fails(func(in *input) { in.RoleArn = aws.String("") }, "roleArn")
	fails(func(in *input) { in.RoleArn = aws.String(role + "x") }, "Role provided in the request does not exist")
	fails(func(in *input) { in.RoleArn = aws.String("arn:aws:iam::444455556666:role/carts") }, "444455556666")
	fails(func(in *input) { in.RoleArn = &untagged }, "sts:TagSession")
	fails(func(in *input) { in.TargetRoleArn = aws.String("target") }, "target")
	fails(func(in *input) { in.Policy = aws.String(anything) }, "disableSessionTags must be true when policy is specified")

	update(func(in *input) { in.DisableSessionTags, in.RoleArn = aws.Bool(true), &untagged }, func(a *types.PodIdentityAssociation) {
		a.DisableSessionTags, a.RoleArn = aws.Bool(true), &untagged
	})
	fails(func(in *input) { in.DisableSessionTags = aws.Bool(false) }, "sts:TagSession")
	fails(func(in *input) { in.Policy = aws.String(`{"Statement":1}`) }, "policy")
	update(func(in *input) { in.Policy = aws.String(anything) }, func(a *types.PodIdentityAssociation) { a.Policy = aws.String(anything) })
	fails(func(in *input) { in.DisableSessionTags, in.RoleArn = aws.Bool(false), &role }, "disableSessionTags must be true when policy is specified")
	update(func(in *input) { in.Policy = aws.String("") }, func(a *types.PodIdentityAssociation) { a.Policy = nil })
	update(func(in *input) { in.DisableSessionTags, in.RoleArn = aws.Bool(false), &role }, func(a *types.PodIdentityAssociation) {
		a.DisableSessionTags, a.RoleArn = aws.Bool(false), &role
	})

	deleted, err := client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: last.AssociationId})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(last, deleted.Association, sameAssociation); diff != "" {
		t.Errorf("what was deleted is not what was there:\n%s", diff)
	}
}

// Who may update an association may not thereby hand out roles.
func TestUpdateNeedsPassRole(t *testing.T) {
	s := servertest.New(t, nil)
	role, other := s.MakeRole("carts", servertest.PodTrust, ""), s.MakeRole("other", servertest.PodTrust, "")
	id := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: "carts"}, role, nil)
	client := eks.NewFromConfig(s.Limited("updater", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"eks:UpdatePodIdentityAssociation","Resource":"*"}]}`))
	in := &eks.UpdatePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: &id, RoleArn: &other}
	_, err := client.UpdatePodIdentityAssociation(t.Context(), in)
	refused(t, err, "AccessDeniedException", http.StatusForbidden, "iam:PassRole on resource: "+other)
	in.RoleArn, in.TargetRoleArn = nil, aws.String("arn:aws:iam::444455556666:role/target")
	out, err := client.UpdatePodIdentityAssociation(t.Context(), in)
	if err != nil || *out.Association.RoleArn != role {
		t.Errorf("an update that passes no role: %v", err)
	}
}

// An association's role may have gone since; what does not touch the role can still be changed.
func TestUpdateAfterRoleIsGone(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	id := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: "carts"}, role, nil)
	if _, err := iam.NewFromConfig(s.Admin).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("carts")}); err != nil {
		t.Fatal(err)
	}
	in := &eks.UpdatePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: &id, TargetRoleArn: aws.String("arn:aws:iam::444455556666:role/target")}
	if _, err := client.UpdatePodIdentityAssociation(t.Context(), in); err != nil {
		t.Error(err)
	}
	in.RoleArn = &role
	_, err := client.UpdatePodIdentityAssociation(t.Context(), in)
	refused(t, err, "InvalidParameterException", http.StatusBadRequest, "Role provided in the request does not exist")
}

func TestAssociationNotFound(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	here := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: "carts"}, role, nil)
	gone := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "gone", Name: "gone"}, role, nil)
	if _, err := client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: &gone}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		cluster, id string
		code        string
		status      int
		names       string
	}{
		"deleted":           {"local", gone, "ResourceNotFoundException", 404, gone},
		"never there":       {"local", "a-00000000000000000", "ResourceNotFoundException", 404, "a-00000000000000000"},
		"other cluster's":   {"edge", here, "ResourceNotFoundException", 404, here},
		"no such cluster":   {"demo", here, "ResourceNotFoundException", 404, "No cluster found for name: demo."},
		"too short":         {"local", "a-1", "InvalidParameterException", 400, "19"},
		"not an id":         {"local", strings.Repeat("A", 19), "InvalidParameterException", 400, "AAAA"},
		"an id and a slash": {"local", here + "/x", "InvalidParameterException", 400, "19"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.DescribePodIdentityAssociation(t.Context(), &eks.DescribePodIdentityAssociationInput{ClusterName: &tt.cluster, AssociationId: &tt.id})
			refused(t, err, tt.code, tt.status, tt.names)
			_, err = client.UpdatePodIdentityAssociation(t.Context(), &eks.UpdatePodIdentityAssociationInput{ClusterName: &tt.cluster, AssociationId: &tt.id})
			refused(t, err, tt.code, tt.status, tt.names)
			_, err = client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: &tt.cluster, AssociationId: &tt.id})
			refused(t, err, tt.code, tt.status, tt.names)
			var missing *types.ResourceNotFoundException
			if errors.As(err, &missing) && aws.ToString(missing.ClusterName) != tt.cluster {
				t.Errorf("clusterName %q, want %s", aws.ToString(missing.ClusterName), tt.cluster)
			}
		})
	}
	if _, err := client.DescribePodIdentityAssociation(t.Context(), &eks.DescribePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: &here}); err != nil {
		t.Errorf("the association that is there: %v", err)
	}
}

// names are the associations of an answer, as namespace/service account.
func names(out *eks.ListPodIdentityAssociationsOutput) []string {
	var list []string
	for _, a := range out.Associations {
		list = append(list, *a.Namespace+"/"+*a.ServiceAccount)
	}
	return list
}

func TestListPodIdentityAssociations(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	ids := map[string]string{}
	for _, name := range []string{"shop/web", "shop/cart", "shop-x/web", "a/web", "a/b.c"} {
		namespace, account, _ := strings.Cut(name, "/")
		ids[name] = s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: namespace, Name: account}, role, nil)
	}
	s.Associate(servertest.Other, identity.ServiceAccount{Namespace: "shop", Name: "web"}, role, nil)
	type input = eks.ListPodIdentityAssociationsInput
	list := func(in input) (*eks.ListPodIdentityAssociationsOutput, error) {
		in.ClusterName = aws.String("local")
		return client.ListPodIdentityAssociations(t.Context(), &in)
	}
	for name, tt := range map[string]struct {
		in   input
		want []string
	}{
		"all":            {input{}, []string{"a/b.c", "a/web", "shop-x/web", "shop/cart", "shop/web"}},
		"namespace":      {input{Namespace: aws.String("shop")}, []string{"shop/cart", "shop/web"}},
		"account":        {input{ServiceAccount: aws.String("web")}, []string{"a/web", "shop-x/web", "shop/web"}},
		"both":           {input{Namespace: aws.String("shop"), ServiceAccount: aws.String("web")}, []string{"shop/web"}},
		"no wildcards":   {input{Namespace: aws.String("*")}, nil},
		"no prefixes":    {input{Namespace: aws.String("sho")}, nil},
		"a path is none": {input{Namespace: aws.String("shop/web")}, nil},
	} {
		out, err := list(tt.in)
		if err != nil || out.NextToken != nil {
			t.Errorf("%s: next token %v, error %v", name, out, err)
			continue
		}
		if diff := cmp.Diff(tt.want, names(out)); diff != "" {
			t.Errorf("%s, want - got +:\n%s", name, diff)
		}
	}
	out, err := list(input{Namespace: aws.String("shop"), ServiceAccount: aws.String("web")})
	if err != nil {
		t.Fatal(err)
	}
	want := types.PodIdentityAssociationSummary{
		ClusterName: aws.String("local"), Namespace: aws.String("shop"), ServiceAccount: aws.String("web"), AssociationId: aws.String(ids["shop/web"]),
		AssociationArn: aws.String("arn:aws:eks:us-west-2:111122223333:podidentityassociation/local/" + ids["shop/web"]),
	}
	if diff := cmp.Diff(want, out.Associations[0], cmpopts.IgnoreUnexported(want)); diff != "" {
		t.Errorf("summary, want - got +:\n%s", diff)
	}

	first, err := list(input{MaxResults: aws.Int32(1), Namespace: aws.String("shop")})
	if err != nil || first.NextToken == nil {
		t.Fatalf("the first page: %v (%v)", first, err)
	}
	token := *first.NextToken
	tampered := strings.ToUpper(token[:1]) + strings.ToLower(token[:1]) + token[2:]
	for name, in := range map[string]input{
		"tampered":          {Namespace: aws.String("shop"), NextToken: &tampered},
		"no token at all":   {Namespace: aws.String("shop"), NextToken: aws.String("!")},
		"other namespace":   {Namespace: aws.String("a"), NextToken: &token},
		"without filter":    {NextToken: &token},
		"added filter":      {Namespace: aws.String("shop"), ServiceAccount: aws.String("web"), NextToken: &token},
		"no results wanted": {MaxResults: aws.Int32(0)},
		"too many results":  {MaxResults: aws.Int32(101)},
	} {
		_, err := list(in)
		t.Log(name)
		refused(t, err, "InvalidParameterException", http.StatusBadRequest)
	}
	_, err = client.ListPodIdentityAssociations(t.Context(), &input{ClusterName: aws.String("edge"), Namespace: aws.String("shop"), NextToken: &token})
	refused(t, err, "InvalidParameterException", http.StatusBadRequest, "nextToken")
	_, err = client.ListClusters(t.Context(), &eks.ListClustersInput{NextToken: &token})
	refused(t, err, "InvalidParameterException", http.StatusBadRequest, "nextToken")
	_, err = client.ListPodIdentityAssociations(t.Context(), &input{ClusterName: aws.String("demo")})
	refused(t, err, "ResourceNotFoundException", http.StatusNotFound, "demo")
}

// What is there all the time is listed once, whatever others do between the pages.
func TestListWhileOthersWrite(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	var want []string
	passing := map[string]string{}
	for i := range 12 {
		account := fmt.Sprintf("a%02d", i)
		id := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "shop", Name: account}, role, nil)
		if i%3 == 0 {
			passing[account] = id
		} else {
			want = append(want, "shop/"+account)
		}
	}
	var got []string
	pages := eks.NewListPodIdentityAssociationsPaginator(client, &eks.ListPodIdentityAssociationsInput{ClusterName: aws.String("local")},
		func(o *eks.ListPodIdentityAssociationsPaginatorOptions) { o.Limit = 2 })
	for page := 0; pages.HasMorePages(); page++ {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Associations) > 2 {
			t.Fatalf("a page of %d", len(out.Associations))
		}
		got = append(got, names(out)...)
		s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "before", Name: fmt.Sprintf("b%02d", page)}, role, nil)
		for account, id := range passing { // one of them, perhaps the very one that the next page begins after
			if _, err := client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: aws.String("local"), AssociationId: &id}); err != nil {
				t.Fatal(err)
			}
			delete(passing, account)
			break
		}
	}
	got = slices.DeleteFunc(got, func(name string) bool { return !slices.Contains(want, name) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed, want - got +:\n%s", diff)
	}
}

func TestClusters(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	out, err := client.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("local")})
	if err != nil {
		t.Fatal(err)
	}
	c := out.Cluster
	if *c.Name != "local" || *c.Arn != "arn:aws:eks:us-west-2:111122223333:cluster/local" || c.Status != types.ClusterStatusActive ||
		!strings.HasPrefix(*c.Identity.Oidc.Issuer, s.URL+"/id/") || *c.Endpoint != s.URL+"/k8s/local" || c.Version == nil ||
		c.CreatedAt == nil || c.CreatedAt.IsZero() || c.Tags == nil || c.Health == nil || c.Health.Issues == nil || c.OutpostConfig != nil {
		t.Errorf("cluster %+v", c)
	}
	_, err = client.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("demo")})
	refused(t, err, "ResourceNotFoundException", http.StatusNotFound, "No cluster found for name: demo.")
	_, err = client.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("de mo")})
	refused(t, err, "InvalidParameterException", http.StatusBadRequest, "de mo")

	var all []string
	pages := eks.NewListClustersPaginator(client, &eks.ListClustersInput{MaxResults: aws.Int32(1)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, out.Clusters...)
	}
	if diff := cmp.Diff([]string{"edge", "local"}, all); diff != "" {
		t.Errorf("clusters, want - got +:\n%s", diff)
	}
}
