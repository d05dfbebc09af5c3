package kube

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podid/podid/internal/identity"
)

// webIdentityAudience is the audience of tokens for IAM roles for service accounts.
const webIdentityAudience = "sts.amazonaws.com"

// IAM roles for service accounts: the API server is an OpenID Connect provider of the account, and its tokens are exchanged at STS.
// podid gets the issuer's keys from it, or has them because it knows the cluster.
func TestWebIdentity(t *testing.T) {
	discloseIssuer(t)
	t.Run("keys fetched", func(t *testing.T) {
		testWebIdentity(t, startPodid(t, trustIssuer()))
	})
	t.Run("keys uploaded", func(t *testing.T) {
		p := startPodid(t)
		p.register(t)
		testWebIdentity(t, p)
	})
	t.Run("issuer not trusted", func(t *testing.T) {
		namespace, p := newNamespace(t, "carts"), startPodid(t)
		role := p.trustWebIdentity(t, namespace, "carts")
		_, err := p.assumeWithWebIdentity(t, role, tokenOf(t, createPod(t, namespace, pod("carts-0", "carts")), webIdentityAudience))
		if code := codeOf(err); code != "IDPCommunicationError" {
			t.Errorf("got %v, want IDPCommunicationError", err)
		}
	})
}

func testWebIdentity(t *testing.T, p *podid) {
	namespace := newNamespace(t, "carts", "orders")
	role := p.trustWebIdentity(t, namespace, "carts")
	carts := createPod(t, namespace, pod("carts-0", "carts"))

	out, err := p.assumeWithWebIdentity(t, role, tokenOf(t, carts, webIdentityAudience))
	if err != nil {
		t.Fatal(err)
	}
	if want := "system:serviceaccount:" + namespace + ":carts"; aws.ToString(out.SubjectFromWebIdentityToken) != want ||
		aws.ToString(out.AssumedRoleUser.Arn) != "arn:aws:sts::111122223333:assumed-role/carts/test" {
		t.Errorf("got %s as %s, want %s", aws.ToString(out.SubjectFromWebIdentityToken), aws.ToString(out.AssumedRoleUser.Arn), want)
	}
	orders := createPod(t, namespace, pod("orders-0", "orders"))
	for _, refused := range []struct{ name, token, code string }{
		{"other service account", tokenOf(t, orders, webIdentityAudience), "AccessDenied"},
		{"other audience", tokenOf(t, carts, "pods.eks.amazonaws.com"), "InvalidIdentityToken"},
		{"other claims", forge(t, tokenOf(t, orders, webIdentityAudience), tokenOf(t, carts, webIdentityAudience)), "InvalidIdentityToken"},
	} {
		t.Run(refused.name, func(t *testing.T) {
			if _, err := p.assumeWithWebIdentity(t, role, refused.token); codeOf(err) != refused.code {
				t.Errorf("got %v, want %s", err, refused.code)
			}
		})
	}
}

// annotate has the webhook give a service account's pods a role by web identity.
func annotate(t *testing.T, account identity.ServiceAccount, role string) {
	t.Helper()
	patch := []byte(`{"metadata":{"annotations":{"eks.amazonaws.com/role-arn":"` + role + `"}}}`)
	accounts := kube.Client.CoreV1().ServiceAccounts(account.Namespace)
	if _, err := accounts.Patch(t.Context(), account.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// trustWebIdentity makes the Kubernetes a provider of the account, and a role that trusts one service account of it.
func (p *podid) trustWebIdentity(t *testing.T, namespace, serviceAccount string) (role string) {
	t.Helper()
	_, err := iam.NewFromConfig(p.admin).CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: &kube.Issuer, ClientIDList: []string{webIdentityAudience},
	})
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(kube.Issuer, "https://")
	return p.createRole(t, serviceAccount, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
		"Principal":{"Federated":"arn:aws:iam::`+accountID+`:oidc-provider/`+host+`"},"Action":"sts:AssumeRoleWithWebIdentity",
		"Condition":{"StringEquals":{"`+host+`:sub":"system:serviceaccount:`+namespace+`:`+serviceAccount+`",
			"`+host+`:aud":"`+webIdentityAudience+`"}}}]}`)
}

func (p *podid) assumeWithWebIdentity(t *testing.T, role, token string) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return sts.NewFromConfig(p.admin).AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &role, RoleSessionName: aws.String("test"), WebIdentityToken: &token,
	})
}

// codeOf is the code of a refusal, "" of anything else.
func codeOf(err error) string {
	if refusal, ok := errors.AsType[smithy.APIError](err); ok {
		return refusal.ErrorCode()
	}
	return ""
}
