package webhook

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// errNoSpec is a pod without a spec, which Kubernetes never sends.
var errNoSpec = errors.New("it has no spec")

// Label is set to "enabled" on pods that were given Pod Identity, so that they can be selected and counted.
const Label = "eks.amazonaws.com/pod-identity"

// skipLabel, with any value, keeps a pod as it is. A MutatingWebhookConfiguration says so too, in its objectSelector; it is asked
// here for those that lost that.
const skipLabel = "eks.amazonaws.com/skip-pod-identity-webhook"

// The ways in which a pod can get its credentials, as Amazon's webhook names them in its metrics.
const (
	ContainerCredentials = "container_credentials" // EKS Pod Identity
	WebIdentity          = "sts_web_identity"      // IAM roles for service accounts
)

// Operation is a step of a JSON patch, RFC 6902.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Mutation is what to change in a pod, and what to tell its author.
type Mutation struct {
	// Method is ContainerCredentials or WebIdentity; empty where the pod's service account has no role.
	Method string
	// Patch is empty where the pod already has everything.
	Patch []Operation
	// Warnings are single lines, shown by kubectl.
	Warnings []string
}

// Inject works out the patch that gives a pod the credentials of its service account, of which facts is all that is known. The pod
// is JSON as the Kubernetes API has it.
//
// What is there already is never changed, but for the list of a proxy's exceptions where the settings want that, so injecting
// twice is injecting once. The patch only appends, at single indices: other webhooks' changes and fields that this program has
// never heard of survive it. The result depends on nothing but the arguments. It fails only for something that is not a pod.
func Inject(data []byte, facts ServiceAccountFacts, s Settings) (Mutation, error) {
	p, err := decodePod(data)
	if err != nil {
		return Mutation{}, err
	}
	return inject(p, facts, s.complete()), nil
}

func inject(p *pod, facts ServiceAccountFacts, s Settings) Mutation {
	var m Mutation
	if _, skip := p.label(skipLabel); skip {
		return m
	}
	g := m.choose(p, facts, s)
	if g == nil {
		return m
	}
	m.Method = g.method
	skip, warning := p.skipped(s.AnnotationPrefix + "/skip-containers")
	m.warn(warning)

	m.addLabel(p, g)
	m.addVolume(p, g)
	for i, c := range p.Spec.Containers {
		m.addToContainer("/spec/containers/"+strconv.Itoa(i), c, skip, g, s)
	}
	for i, c := range p.Spec.InitContainers {
		m.addToContainer("/spec/initContainers/"+strconv.Itoa(i), c, skip, g, s)
	}
	return m
}

func (m *Mutation) warn(text string) {
	if text != "" {
		m.Warnings = append(m.Warnings, text)
	}
}

func (m *Mutation) add(path string, value any) {
	m.Patch = append(m.Patch, Operation{"add", path, value})
}

// addLabel marks the pod, where the grant wants that.
func (m *Mutation) addLabel(p *pod, g *grant) {
	if g.label == "" {
		return
	}
	const value = "enabled"
	one := map[string]string{g.label: value}
	switch {
	case p.Metadata == nil:
		m.add("/metadata", map[string]any{"labels": one})
	case len(p.Metadata.Labels) == 0:
		m.add("/metadata/labels", one)
	case p.Metadata.Labels[g.label] != value:
		m.add("/metadata/labels/"+strings.ReplaceAll(g.label, "/", "~1"), value)
	}
}

// addVolume adds the token's volume in front of the others, where Amazon's webhook puts it.
func (m *Mutation) addVolume(p *pod, g *grant) {
	if has(p.Spec.Volumes, g.volume) {
		return
	}
	type token struct {
		Audience          string `json:"audience"`
		ExpirationSeconds int64  `json:"expirationSeconds"`
		Path              string `json:"path"`
	}
	type source struct {
		ServiceAccountToken token `json:"serviceAccountToken"`
	}
	type projected struct {
		Sources []source `json:"sources"`
	}
	type volume struct {
		Name      string    `json:"name"`
		Projected projected `json:"projected"`
	}
	v := volume{g.volume, projected{[]source{{token{g.audience, g.expiration, g.file}}}}}
	if len(p.Spec.Volumes) == 0 {
		m.add("/spec/volumes", []volume{v})
		return
	}
	m.add("/spec/volumes/0", v)
}

// addToContainer adds variables and mount to one container. One that has keys, region and STS setting of its own is taken to
// be set up by hand and left alone, mount included.
func (m *Mutation) addToContainer(path string, c *container, skip []string, g *grant, s Settings) {
	if c == nil || slices.Contains(skip, c.Name) {
		return
	}
	hasKeys := slices.ContainsFunc(g.keys, func(key variable) bool { return c.defines(key.Name) })
	hasRegion := c.defines("AWS_DEFAULT_REGION", "AWS_REGION")
	hasSTS := c.defines("AWS_STS_REGIONAL_ENDPOINTS")
	if hasKeys && hasRegion && hasSTS {
		return
	}
	var env []variable
	if g.regionalSTS && !hasSTS {
		env = append(env, variable{"AWS_STS_REGIONAL_ENDPOINTS", "regional"})
	}
	if s.Region != "" && !hasRegion {
		env = append(env, variable{"AWS_DEFAULT_REGION", s.Region}, variable{"AWS_REGION", s.Region})
	}
	if !hasKeys {
		env = append(env, g.keys...)
		m.warnOfRivals(c, g)
	}
	env = append(env, endpoints(c, g, s)...)
	if g.method == ContainerCredentials {
		env = append(env, m.bypassProxy(path, c, s)...)
	}
	appendAll(m, path+"/env", len(c.Env) == 0, env)
	m.addMount(path, c, g)
}

// endpoints lead SDKs to podid in place of AWS. With web identity STS has a variable of its own: the SDK for Go makes its credentials
// before it reads the one for all services.
func endpoints(c *container, g *grant, s Settings) []variable {
	if s.EndpointURL == "" || c.defines("AWS_ENDPOINT_URL") {
		return nil
	}
	env := []variable{{"AWS_ENDPOINT_URL", s.EndpointURL}}
	if g.method == WebIdentity && !c.defines("AWS_ENDPOINT_URL_STS") {
		env = append(env, variable{"AWS_ENDPOINT_URL_STS", s.EndpointURL})
	}
	return env
}

// addMount mounts the token's volume, unless the container has done so, or has something else in its place: Kubernetes would
// refuse the pod.
func (m *Mutation) addMount(at string, c *container, g *grant) {
	for _, mounted := range c.VolumeMounts {
		if mounted.Name == g.volume {
			return
		}
		if path.Clean(mounted.MountPath) == path.Clean(g.mountPath) {
			m.warn(fmt.Sprintf("container %q mounts volume %q where its token would be: AWS SDKs look for the token there", c.Name, mounted.Name))
			return
		}
	}
	type mount struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		ReadOnly  bool   `json:"readOnly"`
	}
	appendAll(m, at+"/volumeMounts", len(c.VolumeMounts) == 0, []mount{{g.volume, g.mountPath, true}})
}

// appendAll appends items to the array at path, which it makes where there is none.
func appendAll[T any](m *Mutation, path string, fresh bool, items []T) {
	if fresh && len(items) > 0 {
		m.add(path, items)
		return
	}
	for _, item := range items {
		m.add(path+"/-", item)
	}
}

// warnOfRivals tells of variables for which SDKs give up what the grant leads them to: all of them look there first.
// See https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
func (m *Mutation) warnOfRivals(c *container, g *grant) {
	for _, rival := range g.rivals {
		if c.defines(rival) {
			m.warn(fmt.Sprintf("container %q sets %s, which AWS SDKs use instead of %s", c.Name, rival, g.name))
		}
	}
}
