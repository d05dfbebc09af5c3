package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/podid/podid/internal/identity"
)

// startProgram starts podid webhook for the pods of a namespace, as a service account that may do what docs/operate.md says and no more,
// and returns when it is ready. Whom the API server trusts it finds out from the program itself.
func (p *podid) startProgram(t testing.TB, namespace string) {
	t.Helper()
	own := newNamespace(t, "webhook")
	port, probe := freePort(t), freePort(t)
	hook := admissionv1.MutatingWebhook{
		Name:         "pods.example.com",
		ClientConfig: admissionv1.WebhookClientConfig{URL: aws.String("https://127.0.0.1:" + port + "/mutate")},
		Rules: []admissionv1.RuleWithOperations{{
			Operations: []admissionv1.OperationType{admissionv1.Create},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
		FailurePolicy:     new(admissionv1.Fail), // so that a call that fails is seen
		SideEffects:       new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
	registrations := kube.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := registrations.Create(t.Context(), &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: own}, Webhooks: []admissionv1.MutatingWebhook{hook},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registrations.Delete(context.WithoutCancel(t.Context()), own, metav1.DeleteOptions{}) })
	start(t, append(p.env, "AWS_REGION="+region), "podid", "webhook", "--cluster-name", clusterName, "--endpoint", p.url,
		"--kubeconfig", limitedKubeconfig(t, own), "--namespace", own, "--webhook-configuration", own, "--watch-config-map",
		"--bind-host", "127.0.0.1", "--port", port, "--metrics-port", probe, "--tls-hosts", "127.0.0.1", "--sts-regional-endpoint")
	eventually(t, "podid webhook", func() error { return answers("http://127.0.0.1:" + probe + "/readyz") })
	eventually(t, "the API server trusts it", func() error {
		_, err := kube.Client.CoreV1().Pods(namespace).Create(t.Context(), pod("probe", "orders"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
}

// limitedKubeconfig is of the service account webhook of a namespace, with the rights that are documented.
func limitedKubeconfig(t testing.TB, namespace string) string {
	t.Helper()
	rbac := kube.Client.RbacV1()
	rule := func(group, resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "webhook", Namespace: namespace}}
	meta := metav1.ObjectMeta{Name: namespace}
	ref := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: namespace}
	}
	_, err1 := rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		rule("", "serviceaccounts", "get", "list", "watch"),
		rule("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "get", "patch"),
	}}, metav1.CreateOptions{})
	_, err2 := rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref("ClusterRole"), Subjects: subjects}, metav1.CreateOptions{})
	_, err3 := rbac.Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		rule("", "secrets", "get", "create", "patch"), rule("", "configmaps", "get", "list", "watch"),
	}}, metav1.CreateOptions{})
	_, err4 := rbac.RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref("Role"), Subjects: subjects}, metav1.CreateOptions{})
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = rbac.ClusterRoleBindings().Delete(context.WithoutCancel(t.Context()), namespace, metav1.DeleteOptions{})
		_ = rbac.ClusterRoles().Delete(context.WithoutCancel(t.Context()), namespace, metav1.DeleteOptions{})
	})
	config, err := clientcmd.LoadFromFile(kube.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &api.AuthInfo{Token: newToken(t, identity.ServiceAccount{Namespace: namespace, Name: "webhook"}, kube.Issuer, nil)}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWebhookProgram has a real API server call podid webhook.
func TestWebhookProgram(t *testing.T) {
	namespace := newNamespace(t, "carts", "orders")
	p := startPodid(t)
	p.register(t)
	p.associate(t, identity.ServiceAccount{Namespace: namespace, Name: "carts"})
	p.startProgram(t, namespace)

	if err := podIdentity(createPod(t, namespace, pod("carts-0", "carts"))); err != nil {
		t.Error(err)
	}
	if err := untouched(createPod(t, namespace, pod("orders-0", "orders"))); err != nil {
		t.Error(err)
	}
	t.Run("annotated role", func(t *testing.T) {
		createAccount(t, namespace, "irsa", map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/irsa"})
		created := createPod(t, namespace, pod("irsa-0", "irsa")) // at once: no watch can have told of the annotation
		if env := created.Spec.Containers[0].Env; !has(env, "AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/irsa") || !has(env, "AWS_REGION", region) {
			t.Errorf("the environment is %v", env)
		}
	})
	// Whoever creates association, service account and pod in one go does not have to wait.
	t.Run("all at once", func(t *testing.T) {
		for i := range 10 {
			name := fmt.Sprintf("new-%d", i)
			p.associate(t, identity.ServiceAccount{Namespace: namespace, Name: name})
			createAccount(t, namespace, name, nil)
			if err := podIdentity(createPod(t, namespace, pod(name, name))); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func createAccount(t testing.TB, namespace, name string, annotations map[string]string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	if _, err := kube.Client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func has(env []corev1.EnvVar, name, value string) bool {
	for _, e := range env {
		if e.Name == name {
			return e.Value == value
		}
	}
	return false
}

// answers tells whether a page is answered with 200.
func answers(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
