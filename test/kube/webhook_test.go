package kube

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/webhook"
)

// skipLabel on a pod keeps the webhook away from it.
const skipLabel = "eks.amazonaws.com/skip-pod-identity-webhook"

// startWebhook starts podid webhook, as a service account that may do what docs/operate.md says and no more, and has the API server call
// it for the pods of a namespace. Whom to trust the API server learns from the webhook itself. endpoint is what pods are told to call
// instead of AWS; change, if not nil, changes the registration before.
func (p *podid) startWebhook(t testing.TB, namespace, endpoint string, change func(*admissionv1.MutatingWebhook)) *program {
	t.Helper()
	own := newNamespace(t, "webhook")
	port, probe := freePort(t), freePort(t)
	client := admissionv1.WebhookClientConfig{URL: aws.String("https://127.0.0.1:" + port + "/mutate")}
	configuration := callWebhook(t, "a-podid", namespace, client, change)
	program := start(t, p.env, "podid", "webhook", "--cluster-name", clusterName, "--kubeconfig", limitedKubeconfig(t, own),
		"--namespace", own, "--webhook-configuration", configuration, "--tls-hosts", "127.0.0.1", "--watch-config-map",
		"--bind-host", "127.0.0.1", "--port", port, "--metrics-port", probe, "--sts-regional-endpoint", "--aws-endpoint-url", endpoint)
	t.Cleanup(program.kill) // told to end it would serve for some seconds more
	eventually(t, "podid webhook", func() error { return answers("http://127.0.0.1:" + probe + "/readyz") })
	return program
}

// serveWebhook serves a webhook that is not podid's, and has the API server call it for the pods of a namespace.
func serveWebhook(t testing.TB, name, namespace string, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	callWebhook(t, name, namespace, admissionv1.WebhookClientConfig{
		URL: aws.String(server.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}, nil)
}

// callWebhook has the API server call a webhook for the pods that are created in a namespace, and returns the name of the configuration
// that says so. Kubernetes calls webhooks in the order of these names.
func callWebhook(
	t testing.TB, name, namespace string, client admissionv1.WebhookClientConfig, change func(*admissionv1.MutatingWebhook),
) string {
	t.Helper()
	hook := admissionv1.MutatingWebhook{
		Name: name + ".example.com", ClientConfig: client,
		Rules: []admissionv1.RuleWithOperations{{
			Operations: []admissionv1.OperationType{admissionv1.Create},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
		ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: skipLabel, Operator: metav1.LabelSelectorOpDoesNotExist},
		}},
		FailurePolicy: new(admissionv1.Ignore), ReinvocationPolicy: new(admissionv1.IfNeededReinvocationPolicy),
		SideEffects: new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: aws.Int32(10),
	}
	if change != nil {
		change(&hook)
	}
	configurations := kube.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	made, err := configurations.Create(t.Context(), &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-"}, Webhooks: []admissionv1.MutatingWebhook{hook},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(t.Context()), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return made.Name
}

// variables is what the webhook sets in a container.
var variables = []string{
	"AWS_STS_REGIONAL_ENDPOINTS", "AWS_DEFAULT_REGION", "AWS_REGION",
	"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}

const tokenVolume = "eks-pod-identity-token"

// podIdentity tells what keeps a pod from having Pod Identity in all of its containers; nil if it has it.
func podIdentity(p *corev1.Pod) error {
	var problems []error
	if p.Labels[webhook.Label] != "enabled" {
		problems = append(problems, errors.New("it has no label"))
	}
	volumes := 0
	for _, v := range p.Spec.Volumes {
		if v.Name == tokenVolume {
			volumes++
		}
	}
	if volumes != 1 {
		problems = append(problems, fmt.Errorf("it has %d volumes for the token", volumes))
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		mounts := 0
		for _, m := range c.VolumeMounts {
			if m.Name == tokenVolume {
				mounts++
			}
		}
		if mounts != 1 {
			problems = append(problems, fmt.Errorf("container %s mounts the token %d times", c.Name, mounts))
		}
		for _, name := range variables {
			times := 0
			for _, e := range c.Env {
				if e.Name == name {
					times++
				}
			}
			if times != 1 {
				problems = append(problems, fmt.Errorf("container %s has %s %d times", c.Name, name, times))
			}
		}
	}
	return errors.Join(problems...)
}

// untouched tells what of Pod Identity a pod has; nil if it has nothing.
func untouched(p *corev1.Pod) error {
	if _, ok := p.Labels[webhook.Label]; ok || slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == tokenVolume }) {
		return errors.New("the webhook has changed it")
	}
	return nil
}

// setUp starts podid and its webhook for a namespace with the service accounts carts, which has an association, and orders, and waits
// until the webhook works.
func setUp(t *testing.T, change func(*admissionv1.MutatingWebhook)) (namespace string, p *podid, hook *program) {
	t.Helper()
	namespace = newNamespace(t, "carts", "orders")
	p = startPodid(t)
	p.register(t)
	p.associate(t, identity.ServiceAccount{Namespace: namespace, Name: "carts"})
	hook = p.startWebhook(t, namespace, "", change)
	eventually(t, "the API server to trust the webhook", func() error {
		probe, err := kube.Client.CoreV1().Pods(namespace).Create(t.Context(), pod("probe", "carts"),
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err // where the failure policy is Fail
		}
		return podIdentity(probe)
	})
	return namespace, p, hook
}

func TestWebhook(t *testing.T) {
	namespace, p, _ := setUp(t, func(hook *admissionv1.MutatingWebhook) {
		hook.FailurePolicy = new(admissionv1.Fail) // so that a call that fails is seen
	})

	t.Run("pod", func(t *testing.T) {
		created := createPod(t, namespace, pod("carts-0", "carts"))
		stored, err := kube.Client.CoreV1().Pods(namespace).Get(t.Context(), created.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := podIdentity(stored); err != nil {
			t.Error(err)
		}
		source := stored.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken
		if source.Audience != identity.PodIdentityAudience || source.Path != tokenVolume {
			t.Errorf("the token is %+v", source)
		}
	})
	t.Run("no association", func(t *testing.T) {
		if err := untouched(createPod(t, namespace, pod("orders-0", "orders"))); err != nil {
			t.Error(err)
		}
	})
	t.Run("default service account", func(t *testing.T) {
		created := createPod(t, namespace, pod("default-0", ""))
		if err := untouched(created); err != nil || created.Spec.ServiceAccountName != "default" {
			t.Errorf("%v, of service account %q", err, created.Spec.ServiceAccountName)
		}
	})
	t.Run("skip label", func(t *testing.T) {
		p := pod("skipped", "carts")
		p.Labels = map[string]string{skipLabel: "true"}
		if err := untouched(createPod(t, namespace, p)); err != nil {
			t.Error(err)
		}
	})
	t.Run("dry run", func(t *testing.T) {
		if err := podIdentity(createPod(t, namespace, pod("dry", "carts"), metav1.DryRunAll)); err != nil {
			t.Error(err)
		}
		if _, err := kube.Client.CoreV1().Pods(namespace).Get(t.Context(), "dry", metav1.GetOptions{}); err == nil {
			t.Error("the pod was created")
		}
	})
	t.Run("everything else survives", func(t *testing.T) {
		before, after := everything(t, namespace, "orders"), everything(t, namespace, "carts")
		if len(after["spec"].(map[string]any)["volumes"].([]any)) != 4 {
			t.Error("the webhook has added no volume")
		}
		withdraw(after)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("without and with the webhook (-want +got):\n%s", diff)
		}
	})
	t.Run("deployment", func(t *testing.T) { testDeployment(t, namespace) })
	t.Run("annotated role", func(t *testing.T) {
		createAccount(t, namespace, "irsa", map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/irsa"})
		created := createPod(t, namespace, pod("irsa-0", "irsa")) // at once: no watch can have told of the annotation
		env := created.Spec.Containers[0].Env
		if !has(env, "AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/irsa") || !has(env, "AWS_REGION", region) {
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

// testDeployment lets Kubernetes itself create the pods.
func testDeployment(t *testing.T, namespace string) {
	const replicas = 3
	labels := map[string]string{"app": "carts"}
	_, err := kube.Client.AppsV1().Deployments(namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "carts"},
		Spec: appsv1.DeploymentSpec{
			Replicas: aws.Int32(replicas), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("", "carts").Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pods *corev1.PodList
	eventually(t, "the pods of the deployment", func() error {
		pods, err = kube.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=carts"})
		if err == nil && len(pods.Items) != replicas {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}
		return err
	})
	for _, p := range pods.Items {
		if err := podIdentity(&p); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	deployment, err := kube.Client.AppsV1().Deployments(namespace).Get(t.Context(), "carts", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := untouched(&corev1.Pod{ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: deployment.Spec.Template.Spec}); err != nil {
		t.Errorf("the template: %v", err)
	}
}

// everything is what the API server makes of testdata/pod.yaml for a service account, as it sends it, without what differs from pod
// to pod.
func everything(t *testing.T, namespace, serviceAccount string) map[string]any {
	t.Helper()
	manifest, err := os.ReadFile("testdata/pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	body, err := yaml.YAMLToJSON(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	p["spec"].(map[string]any)["serviceAccountName"] = serviceAccount
	if body, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	answer, err := kube.Client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Param("dryRun", metav1.DryRunAll).
		Param("fieldValidation", metav1.FieldValidationStrict).SetHeader("Content-Type", "application/json").
		SetHeader("Accept", "application/json").Body(body).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(answer, &out); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"uid", "creationTimestamp", "managedFields"} {
		delete(out["metadata"].(map[string]any), field)
	}
	delete(out, "status") // it has times in it
	delete(out["spec"].(map[string]any), "serviceAccountName")
	delete(out["spec"].(map[string]any), "serviceAccount")
	return out
}

// withdraw takes out of a pod what the webhook adds.
func withdraw(p map[string]any) {
	delete(p["metadata"].(map[string]any)["labels"].(map[string]any), webhook.Label)
	spec := p["spec"].(map[string]any)
	isToken := func(item map[string]any) bool { return item["name"] == tokenVolume }
	remove(spec, "volumes", isToken)
	for _, list := range []string{"initContainers", "containers"} {
		for _, c := range spec[list].([]any) {
			remove(c.(map[string]any), "volumeMounts", isToken)
			remove(c.(map[string]any), "env", func(item map[string]any) bool {
				return item["value"] != "legacy" && slices.Contains(variables, item["name"].(string)) // legacy is the pod's own
			})
		}
	}
}

// remove takes items out of a list in an object, and the list if none are left.
func remove(object map[string]any, list string, unwanted func(map[string]any) bool) {
	items, ok := object[list].([]any)
	if !ok {
		return
	}
	object[list] = slices.DeleteFunc(items, func(item any) bool { return unwanted(item.(map[string]any)) })
	if len(object[list].([]any)) == 0 {
		delete(object, list)
	}
}

// Kubernetes calls a webhook again if a later one has changed the pod. A container that was added in between gets Pod Identity, and
// those that have it do not get it twice.
func TestWebhookReinvocation(t *testing.T) {
	for policy, want := range map[admissionv1.ReinvocationPolicyType]bool{
		admissionv1.IfNeededReinvocationPolicy: true,
		admissionv1.NeverReinvocationPolicy:    false,
	} {
		t.Run(string(policy), func(t *testing.T) {
			namespace, _, _ := setUp(t, func(hook *admissionv1.MutatingWebhook) { hook.ReinvocationPolicy = &policy })
			serveWebhook(t, "b-sidecars", namespace, addSidecar)
			var created *corev1.Pod
			eventually(t, "the other webhook", func() error {
				if created = createPod(t, namespace, pod("carts-0", "carts"), metav1.DryRunAll); len(created.Spec.Containers) != 2 {
					return fmt.Errorf("there are %d containers", len(created.Spec.Containers))
				}
				return nil
			})
			if err := podIdentity(created); (err == nil) != want {
				t.Errorf("got %v, want Pod Identity in all containers: %v", err, want)
			}
		})
	}
}

// addSidecar is a webhook that adds a container to every pod that has only one.
func addSidecar(w http.ResponseWriter, r *http.Request) {
	var review struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Request    struct {
			UID    string     `json:"uid"`
			Object corev1.Pod `json:"object"`
		} `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response := map[string]any{"uid": review.Request.UID, "allowed": true}
	if len(review.Request.Object.Spec.Containers) == 1 {
		response["patchType"] = "JSONPatch"
		response["patch"] = []byte(`[{"op":"add","path":"/spec/containers/-","value":{"name":"sidecar","image":"example.com/sidecar:1"}}]`)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": review.APIVersion, "kind": review.Kind, "response": response})
}

// A webhook that is down keeps no pod from being created, as long as its failure policy is Ignore.
func TestWebhookDown(t *testing.T) {
	for policy, want := range map[admissionv1.FailurePolicyType]bool{admissionv1.Ignore: true, admissionv1.Fail: false} {
		t.Run(string(policy), func(t *testing.T) {
			namespace, _, hook := setUp(t, func(hook *admissionv1.MutatingWebhook) { hook.FailurePolicy = &policy })
			hook.kill()
			created, err := kube.Client.CoreV1().Pods(namespace).Create(t.Context(), pod("carts-0", "carts"), metav1.CreateOptions{})
			if (err == nil) != want {
				t.Fatalf("creating a pod: got error %v, want a pod: %v", err, want)
			}
			if err != nil {
				return
			}
			if err := untouched(created); err != nil {
				t.Error(err)
			}
		})
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
