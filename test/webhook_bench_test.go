package test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/kube/kubetest"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/store"
)

const (
	benchIdentities = 100_000
	benchAccounts   = 1000 // that the Kubernetes API has
)

// furnish writes associations into the store of a server that is not running, since making as many by the API would take minutes.
func furnish(b *testing.B, dataDir string, n int) {
	b.Helper()
	st, err := store.Open(b.Context(), store.Config{DataDir: filepath.Join(dataDir, "etcd"), UnsafeNoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	d := directory.New(st)
	if err := st.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	var ops []store.Op
	for i := range n {
		account := benchAccount(i)
		key := directory.AssociationKey(servertest.Cluster, account)
		id := fmt.Sprintf("a-%017d", i)
		ops = append(ops, d.AssociationIDs.Create(id, identity.AssociationRef{Key: key}), d.Associations.Create(key, identity.Association{
			ServiceAccount: account, ID: id, ClusterName: servertest.Cluster, RoleARN: servertest.RoleARN("carts"),
			ARN: "arn:aws:eks:us-west-2:111122223333:podidentityassociation/local/" + id,
		}))
		if len(ops) == 128 || i == n-1 {
			if err := st.Commit(b.Context(), ops...); err != nil {
				b.Fatal(err)
			}
			ops = nil
		}
	}
}

func benchAccount(i int) identity.ServiceAccount {
	return identity.ServiceAccount{Namespace: fmt.Sprintf("team-%d", i%100), Name: fmt.Sprintf("service-%d", i)}
}

// benchWebhook starts podid webhook with 100,000 associations, told by a real server, and some service accounts.
func benchWebhook(b *testing.B) *hook {
	b.Helper()
	s := servertest.New(b, nil)
	s.Stop()
	furnish(b, s.DataDir, benchIdentities)
	s = servertest.Open(b, s.DataDir, nil)
	api := kubetest.New(b)
	for i := range benchAccounts {
		account := benchAccount(i)
		api.Put("/api/v1/namespaces/"+account.Namespace+"/serviceaccounts/"+account.Name, kubetest.Object{})
	}
	h := startWebhook(b, s, api, "podid-webhook", "--log-level", "warn")
	h.ready(b)
	return h
}

// resident is a process' resident memory in MiB.
func (p *process) resident(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		b.Skip("resident memory is read from /proc")
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}

// BenchmarkWebhook measures the program with 100,000 associations over TLS, with HTTP/1.1 and kept connections, load and webhook on the
// same machine: reviews per second when nobody waits, against a bare TLS handler in a process of its own that reads the same body and
// answers with as many bytes, in turns; the time of a review at 200 a second; and resident memory before and after.
func BenchmarkWebhook(b *testing.B) {
	const connections, batch = 8, 250
	h := benchWebhook(b)
	idle := h.resident(b)
	bodies := make([][]byte, benchAccounts)
	for i := range bodies {
		bodies[i] = benchReview(benchAccount(i))
	}
	config := h.client(b).Transport.(*http.Transport).TLSClientConfig
	address := strings.TrimPrefix(h.url, "https://")
	answer := dialTLS(b, address, config).post(b, bodies[0])
	if !bytes.Contains(answer, []byte(`"patch":`)) {
		b.Fatalf("no patch in %s", answer)
	}
	floor := startFloor(b, len(answer))
	both := [2][]*tlsClient{}
	for range connections {
		both[0] = append(both[0], dialTLS(b, floor, &tls.Config{InsecureSkipVerify: true}))
		both[1] = append(both[1], dialTLS(b, address, config))
	}
	var rates [2][]float64
	for turn := 0; b.Loop() && !b.Failed(); turn++ {
		for i := range both {
			who := (i + turn) % 2
			begin := time.Now()
			var running sync.WaitGroup
			for n, c := range both[who] {
				running.Go(func() {
					for i := range batch {
						if c.post(b, bodies[(n*batch+i)%len(bodies)]) == nil {
							return
						}
					}
				})
			}
			running.Wait()
			rates[who] = append(rates[who], connections*batch/time.Since(begin).Seconds())
		}
	}
	b.ReportMetric(idle, "MiB-idle")
	b.ReportMetric(h.resident(b), "MiB-loaded")
	b.ReportMetric(middle(rates[1]), "reviews/s")
	b.ReportMetric(middle(rates[0]), "floor-reviews/s")
	b.ReportMetric(middle(rates[1])/middle(rates[0]), "ratio-vs-floor")
	p50, p99 := atRate(b, both[1], bodies, 200, 5*time.Second)
	b.ReportMetric(float64(p50.Microseconds())/1000, "ms-p50-at-200/s")
	b.ReportMetric(float64(p99.Microseconds())/1000, "ms-p99-at-200/s")
}

// atRate sends reviews at a steady rate and returns how long half and 99 of 100 of them take.
func atRate(b *testing.B, clients []*tlsClient, bodies [][]byte, perSecond int, how time.Duration) (p50, p99 time.Duration) {
	b.Helper()
	idle := make(chan *tlsClient, len(clients))
	for _, c := range clients {
		idle <- c
	}
	var mu sync.Mutex
	var took []time.Duration
	var running sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := range int(how.Seconds()) * perSecond {
		<-tick.C
		begin := time.Now()
		running.Go(func() {
			c := <-idle
			c.post(b, bodies[i%len(bodies)])
			idle <- c
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(begin))
		})
	}
	running.Wait()
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// benchReview is an AdmissionReview of a pod as they are: about 4 KB.
func benchReview(account identity.ServiceAccount) []byte {
	const managed = `"managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-11-22T12:00:00Z",` +
		`"fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{},` +
		`"k:{\"uid\":\"0b9c6a4e-37b8-4ea5-a0f7-6cd2ff5a51e0\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"LOG\"}":{".":{},` +
		`"f:name":{},"f:value":{}}},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},` +
		`"f:protocol":{}}},"f:resources":{".":{},"f:limits":{".":{},"f:memory":{}},"f:requests":{".":{},"f:cpu":{},"f:memory":{}}}}},"f:dnsPolicy":{},"f:restartPolicy":{}}}}]`
	const container = `{"name":%q,"image":"registry.example.com/shop/web:1.42.0","ports":[{"containerPort":8080,"protocol":"TCP"}],` +
		`"env":[{"name":"LOG","value":"info"},{"name":"POD_IP","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"status.podIP"}}}],` +
		`"resources":{"limits":{"memory":"256Mi"},"requests":{"cpu":"100m","memory":"256Mi"}},"volumeMounts":[{"name":"kube-api-access-x7k2p",` +
		`"readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"livenessProbe":{"httpGet":{"path":"/livez","port":8080,"scheme":"HTTP"},` +
		`"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"terminationMessagePath":"/dev/termination-log",` +
		`"terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}`
	return fmt.Appendf(nil, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002",`+
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},`+
		`"requestKind":{"group":"","version":"v1","kind":"Pod"},"requestResource":{"group":"","version":"v1","resource":"pods"},`+
		`"namespace":%q,"operation":"CREATE","userInfo":{"username":"system:serviceaccount:kube-system:replicaset-controller",`+
		`"uid":"2b2a3f06-8f5c-4c0a-9c70-2e1f6f6a3d11","groups":["system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated"]},`+
		`"object":{"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"web-6d4cf56db6-","creationTimestamp":null,"labels":{"app":"web","pod-template-hash":"6d4cf56db6"},`+
		`"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-6d4cf56db6","uid":"0b9c6a4e-37b8-4ea5-a0f7-6cd2ff5a51e0","controller":true,"blockOwnerDeletion":true}],`+
		managed+`},"spec":{"volumes":[{"name":"kube-api-access-x7k2p","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},`+
		`{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],"containers":[`+
		fmt.Sprintf(container, "web")+","+fmt.Sprintf(container, "metrics")+`],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst",`+
		`"serviceAccountName":%[2]q,"serviceAccount":%[2]q,"securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready",`+
		`"operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},"status":{}},`+
		`"oldObject":null,"dryRun":false,"options":{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}`, account.Namespace, account.Name)
}

// startFloor starts the bare handler in a process of its own, and returns its address.
func startFloor(b *testing.B, answerBytes int) string {
	b.Helper()
	certFile, keyFile := writeCertificate(b, b.TempDir())
	port := freePort(b)
	p := start(b, os.Environ(), nil, os.Args[0], "child", "floor", port, certFile, keyFile, strconv.Itoa(answerBytes))
	p.says(b, "floor serves")
	return "127.0.0.1:" + port
}

// serveFloor is the bare handler.
func serveFloor(args []string) error {
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	answer := bytes.Repeat([]byte("x"), n)
	l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
	if err != nil {
		return err
	}
	fmt.Println("floor serves")
	return http.ServeTLS(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", args[3])
		_, _ = w.Write(answer)
	}), args[1], args[2])
}
