package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/podid/podid/examples"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/test/kube/cluster"
)

// Pods run, on a node, with an application that knows nothing of podid and reads from S3. The webhook has told it where to get
// credentials, kubelet has put the token there, and the node agent, or STS, has exchanged it.
func TestPodRuns(t *testing.T) {
	if os.Getenv(nodeVariable) == "" {
		t.Skip("this takes a node: make kube-node")
	}
	namespace := newNamespace(t, "carts", "users", "orders")
	p := startPodid(t)
	p.register(t)
	p.associate(t, identity.ServiceAccount{Namespace: namespace, Name: "carts"})
	p.allowS3(t, "carts")
	annotate(t, identity.ServiceAccount{Namespace: namespace, Name: "users"}, p.trustWebIdentity(t, namespace, "users"))
	p.allowS3(t, "users")
	p.startNodeAgent(t)
	p.startWebhook(t, namespace, forward(t, p.url), nil)
	image := cluster.Image{Name: "registry.example.com/list-files:latest", Program: filepath.Join(programs, "list-files")}
	if err := kube.ImportImage(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the webhook", func() error {
		return podIdentity(createPod(t, namespace, pod("probe", "carts"), metav1.DryRunAll))
	})

	for account, how := range map[string]string{"carts": "association", "users": "web identity"} {
		t.Run(how, func(t *testing.T) {
			status, answer := askListFiles(t, runPod(t, namespace, account))
			if diff := cmp.Diff([]string{"test-file-1.md", "test-file-2.md"}, answer.Files); status != http.StatusOK || diff != "" {
				t.Errorf("%d %s; files (-want +got):\n%s", status, answer.Error, diff)
			}
		})
	}
	t.Run("neither", func(t *testing.T) {
		status, answer := askListFiles(t, runPod(t, namespace, "orders"))
		if status != http.StatusInternalServerError || !strings.Contains(answer.Error, "unable to load credentials") {
			t.Errorf("%d %+v, want no credentials", status, answer)
		}
	})
}

// allowS3 lets a role read the bucket that is there from the start.
func (p *podid) allowS3(t *testing.T, role string) {
	t.Helper()
	_, err := iam.NewFromConfig(p.admin).PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: &role, PolicyName: aws.String("s3-read"), PolicyDocument: aws.String(examples.S3Read),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// startNodeAgent gives the node the address that pods call, and has the agent answer there.
func (p *podid) startNodeAgent(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"initialize", "--remove"}, {"initialize"}} {
		out, err := exec.Command(filepath.Join(programs, "podid-agent"), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("podid-agent %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	p.startAgent(t, "169.254.170.23", "80")
}

// forward lets pods reach a server on the node's loopback interface, and returns where.
func forward(t *testing.T, url string) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(cluster.NodeIP, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			go relay(from, strings.TrimPrefix(url, "http://"))
		}
	}()
	return "http://" + listener.Addr().String()
}

// relay copies a connection to and from an address until either side ends it.
func relay(from net.Conn, address string) {
	defer from.Close()
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(to, from); done <- struct{}{} }()
	go func() { _, _ = io.Copy(from, to); done <- struct{}{} }()
	<-done
}

// runPod runs the pod of the examples as a service account, and returns its address once it runs.
func runPod(t *testing.T, namespace, serviceAccount string) string {
	t.Helper()
	var p corev1.Pod
	if err := yaml.UnmarshalStrict(examples.Pod, &p); err != nil {
		t.Fatal(err)
	}
	p.Name, p.Namespace, p.Spec.ServiceAccountName = serviceAccount, namespace, serviceAccount
	p.Spec.AutomountServiceAccountToken = new(false)
	p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever // the node has it
	p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: cluster.NodeTaint, Operator: corev1.TolerationOpExists})
	createPod(t, namespace, &p)
	var running *corev1.Pod
	eventually(t, "the pod "+p.Name, func() error {
		var err error
		if running, err = kube.Client.CoreV1().Pods(namespace).Get(t.Context(), p.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		ready := slices.ContainsFunc(running.Status.Conditions, func(condition corev1.PodCondition) bool {
			return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
		})
		if !ready || running.Status.PodIP == "" {
			return fmt.Errorf("it is %+v", running.Status)
		}
		return nil
	})
	return running.Status.PodIP
}

// answer is what list-files says.
type answer struct {
	Files []string
	Error string
}

// askListFiles asks list-files in a pod.
func askListFiles(t *testing.T, ip string) (status int, a answer) {
	t.Helper()
	eventually(t, "list-files", func() error {
		resp, err := http.Get("http://" + net.JoinHostPort(ip, "8080") + "/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		status = resp.StatusCode
		return json.NewDecoder(resp.Body).Decode(&a)
	})
	return status, a
}
