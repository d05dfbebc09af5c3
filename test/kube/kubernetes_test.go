package kube

import (
	"context"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podid/podid/internal/identity"
)

// eventually tries until there is no error.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// newNamespace makes a namespace for the test, with service accounts in it.
func newNamespace(t testing.TB, serviceAccounts ...string) string {
	t.Helper()
	namespaces := kube.Client.CoreV1().Namespaces()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	made, err := namespaces.Create(t.Context(), namespace, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := namespaces.Delete(context.WithoutCancel(t.Context()), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	for _, name := range serviceAccounts {
		createAccount(t, made.Name, name, nil)
	}
	return made.Name
}

// pod is the smallest there is.
func pod(name, serviceAccount string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName: serviceAccount,
			Containers:         []corev1.Container{{Name: "app", Image: "example.com/app:1"}},
		},
	}
}

// createPod creates a pod and returns what has become of it.
func createPod(t testing.TB, namespace string, p *corev1.Pod, dryRun ...string) *corev1.Pod {
	t.Helper()
	created, err := kube.Client.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{DryRun: dryRun})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// tokenOf gets a token from the API server as a kubelet does for a pod that runs: of the pod's service account, and bound to the pod.
func tokenOf(t testing.TB, p *corev1.Pod, audience string) string {
	t.Helper()
	bound := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID}
	return newToken(t, identity.ServiceAccount{Namespace: p.Namespace, Name: p.Spec.ServiceAccountName}, audience, bound)
}

// newToken gets a token that is bound to an object, or to none.
func newToken(t testing.TB, account identity.ServiceAccount, audience string, bound *authenticationv1.BoundObjectReference) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, BoundObjectRef: bound}}
	accounts := kube.Client.CoreV1().ServiceAccounts(account.Namespace)
	made, err := accounts.CreateToken(t.Context(), account.Name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made.Status.Token
}

// discloseIssuer lets everybody read the documents of the issuer, as AWS has to.
// See https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery.
func discloseIssuer(t *testing.T) {
	t.Helper()
	bindings := kube.Client.RbacV1().ClusterRoleBindings()
	made, err := bindings.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "issuer-discovery-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:service-account-issuer-discovery"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:unauthenticated"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bindings.Delete(context.WithoutCancel(t.Context()), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	everybody, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(kube.Admin))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the issuer's keys", func() error {
		return everybody.Discovery().RESTClient().Get().AbsPath("/openid/v1/jwks").Do(t.Context()).Error()
	})
}

// trustIssuer is the variable of a podid that may fetch keys from the issuer, whose certificate is of an authority of its own, as in a
// company.
func trustIssuer() string { return "SSL_CERT_FILE=" + kube.CAFile }

// createAccount makes a service account.
func createAccount(t testing.TB, namespace, name string, annotations map[string]string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	if _, err := kube.Client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
