package kube

import (
	"context"
	"path/filepath"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/podid/podid/internal/identity"
)

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
	_, err2 := rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: ref("ClusterRole"), Subjects: subjects,
	}, metav1.CreateOptions{})
	_, err3 := rbac.Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		rule("", "secrets", "get", "create", "patch"), rule("", "configmaps", "get", "list", "watch"),
	}}, metav1.CreateOptions{})
	_, err4 := rbac.RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: ref("Role"), Subjects: subjects,
	}, metav1.CreateOptions{})
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
	token := newToken(t, identity.ServiceAccount{Namespace: namespace, Name: "webhook"}, kube.Issuer, nil)
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &api.AuthInfo{Token: token}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
