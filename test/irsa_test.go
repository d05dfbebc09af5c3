package test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
)

const irsaPod = "../examples/irsa/pod.yaml"

// issuer is that of the cluster local.
func (d *devServer) issuer(t testing.TB) string {
	t.Helper()
	out, err := eks.NewFromConfig(d.config()).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("local")})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.Cluster.Identity.Oidc.Issuer)
}

// createProvider makes the cluster's issuer an OpenID Connect provider of the account.
func (d *devServer) createProvider(t testing.TB) {
	t.Helper()
	_, err := iam.NewFromConfig(d.config()).CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(d.issuer(t)), ClientIDList: []string{"sts.amazonaws.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// createWebIdentityRole makes the role of the example, whose trust policy is filled in as README does.
func (d *devServer) createWebIdentityRole(t testing.TB, name string) {
	t.Helper()
	policy, err := os.ReadFile("../examples/irsa/trust-policy.json")
	if err != nil {
		t.Fatal(err)
	}
	_, host, _ := strings.Cut(d.issuer(t), "://")
	_, err = iam.NewFromConfig(d.config()).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: &name, AssumeRolePolicyDocument: aws.String(strings.ReplaceAll(string(policy), "ISSUER", host)),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The whole of IAM roles for service accounts: an issuer that is a provider, a role that trusts it, an annotated service account, and
// an SDK that finds its way by the variables of the pod. And what STS says where a part of it is missing or wrong.
func TestIRSA(t *testing.T) {
	d := startDev(t, dataDir(t))
	env := append(slices.Clone(d.env), environment(t)...)
	manifest, err := os.ReadFile(irsaPod)
	if err != nil {
		t.Fatal(err)
	}
	whoami := func(replace ...string) result {
		t.Helper()
		return run(t, env, strings.NewReplacer(replace...).Replace(string(manifest)), "podid", "run", "-f", "-", "--", os.Args[0], "child", "whoami")
	}
	refused := func(t *testing.T, got result, wants ...string) {
		t.Helper()
		if got.code != noCredentials {
			t.Fatalf("got %+v, want no credentials", got)
		}
		for _, want := range wants {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("got %q, want %q", got.stdout, want)
			}
		}
	}
	const accessDenied = "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"

	refused(t, whoami(), "InvalidIdentityToken: No OpenIDConnect provider found in your account for "+d.issuer(t))
	d.createProvider(t)
	refused(t, whoami(), accessDenied) // there is no role; AWS says the same
	d.createWebIdentityRole(t, "orders")

	session := regexp.MustCompile(`^arn:aws:sts::111122223333:assumed-role/orders/orders-[-0-9a-f]{36}\n$`)
	if got := whoami(); got.code != 0 || !session.MatchString(got.stdout) || got.stderr != "" {
		t.Fatalf("got %+v, want a session of orders", got)
	}
	t.Run("without the manifest", func(t *testing.T) { // the service account stays
		got := run(t, env, "", "podid", "run", "-n", "shop", "--service-account", "orders", "--", os.Args[0], "child", "whoami")
		if got.code != 0 || !strings.Contains(got.stdout, "assumed-role/orders/") {
			t.Errorf("got %+v, want a session of orders", got)
		}
	})
	t.Run("role by its name", func(t *testing.T) {
		if got := whoami("arn:aws:iam::111122223333:role/orders", "orders"); got.code != 0 || !session.MatchString(got.stdout) {
			t.Errorf("got %+v, want a session of orders", got)
		}
	})
	t.Run("wrong service account", func(t *testing.T) {
		refused(t, whoami("  name: orders\n", "  name: other\n", "serviceAccountName: orders", "serviceAccountName: other"), accessDenied)
	})
	t.Run("wrong namespace", func(t *testing.T) {
		refused(t, whoami("namespace: shop", "namespace: other"), accessDenied)
	})
	t.Run("wrong audience", func(t *testing.T) {
		refused(t, whoami("annotations:\n", "annotations:\n    eks.amazonaws.com/audience: vault.example.com\n"),
			"InvalidIdentityToken: Incorrect token audience")
	})
	t.Run("malformed role", func(t *testing.T) {
		got := whoami("111122223333:role/orders", "1111:role/orders")
		refused(t, got, "ValidationError: arn:aws:iam::1111:role/orders is invalid")
		const warning = `podid: warning: the service account's role "arn:aws:iam::1111:role/orders" is not the ARN of an IAM role: AWS STS will refuse it` + "\n"
		if diff := cmp.Diff(warning, got.stderr); diff != "" {
			t.Errorf("stderr (-want +got):\n%s", diff)
		}
	})
	t.Run("no annotation", func(t *testing.T) {
		got := whoami("eks.amazonaws.com/role-arn", "example.com/role-arn")
		refused(t, got)
		if !strings.Contains(got.stderr, "podid: note: the cluster local has no association for shop/orders") {
			t.Errorf("stderr %q, want a note", got.stderr)
		}
	})
	t.Run("association goes first", func(t *testing.T) {
		_, err := eks.NewFromConfig(d.config()).CreatePodIdentityAssociation(t.Context(), &eks.CreatePodIdentityAssociationInput{
			ClusterName: aws.String("local"), Namespace: aws.String("shop"), ServiceAccount: aws.String("orders"), RoleArn: aws.String(d.createRole(t, "carts")),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := whoami(); got.code != 0 || !strings.Contains(got.stdout, "assumed-role/carts/eks-local-orders-") {
			t.Errorf("got %+v, want a session of carts", got)
		}
	})
	checkEmpty(t, env)
}

// A service account outlives the server, and its tokens are those of the same issuer.
func TestIRSAAfterRestart(t *testing.T) {
	dir := dataDir(t)
	d := startDev(t, dir)
	d.createProvider(t)
	d.createWebIdentityRole(t, "orders")
	whoami := []string{"run", "-n", "shop", "--service-account", "orders", "--", os.Args[0], "child", "whoami"}
	env := append(slices.Clone(d.env), environment(t)...)
	if got := run(t, env, "", "podid", append([]string{"run", "-f", irsaPod}, whoami[5:]...)...); got.code != 0 {
		t.Fatalf("got %+v", got)
	}
	address := strings.TrimPrefix(d.url, "http://")
	d.stop(t, syscall.SIGTERM)
	d = startDev(t, dir, "--listen", address) // its address is part of the issuer
	env = append(slices.Clone(d.env), environment(t)...)
	if got := run(t, env, "", "podid", whoami...); got.code != 0 || !strings.Contains(got.stdout, "assumed-role/orders/") {
		t.Errorf("got %+v, want a session of orders", got)
	}
}
