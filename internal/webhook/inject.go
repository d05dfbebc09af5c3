package webhook

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// errNoSpec is a pod without a spec, which Kubernetes never sends.
var errNoSpec = errors.New("it has no spec")

// Label is set to "enabled" on pods that were given Pod Identity, so that they can be selected and counted.
const Label = "eks.amazonaws.com/pod-identity"

// Operation is a step of a JSON patch, RFC 6902. Every one adds.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Mutation is what to change in a pod, and what to tell its author.
type Mutation struct {
	// Patch is empty where the pod already has everything.
	Patch []Operation
	// Warnings are single lines, shown by kubectl.
	Warnings []string
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// grant is one way of giving a pod credentials: variables that lead an SDK to them, and the token that pays for them.
type grant struct {
	label      string     // on the pod
	keys       []variable // set all together, or none where the container has one of them already
	volume     string
	mountPath  string
	file       string // below mountPath
	audience   string
	expiration int64 // seconds
}

// Inject works out the patch that gives Pod Identity to a pod whose service account has an association. The pod is JSON as the
// Kubernetes API has it.
//
// What is there already is never changed, so injecting twice is injecting once. The patch only appends, at single indices: other
// webhooks' changes and fields that this program has never heard of survive it. The result depends on nothing but the arguments.
// It fails only for something that is not a pod.
func Inject(data []byte, s Settings) (Mutation, error) {
	p, err := decodePod(data)
	if err != nil {
		return Mutation{}, err
	}
	return inject(p, s), nil
}

func inject(p *pod, s Settings) Mutation {
	s = s.complete()
	var m Mutation
	skip, warning := p.skipped(s.AnnotationPrefix + "/skip-containers")
	m.warn(warning)
	g, warning := containerCredentials(p, s)
	m.warn(warning)

	m.addLabel(p, g.label)
	m.addVolume(p, g, s)
	for i, c := range p.Spec.Containers {
		m.addToContainer("/spec/containers/"+strconv.Itoa(i), c, skip, g, s)
	}
	for i, c := range p.Spec.InitContainers {
		m.addToContainer("/spec/initContainers/"+strconv.Itoa(i), c, skip, g, s)
	}
	return m
}

// containerCredentials is the grant of EKS Pod Identity.
// See https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html.
func containerCredentials(p *pod, s Settings) (g grant, warning string) {
	file := s.MountPath + "/" + s.TokenFile
	if p.windows() { // the mount path itself stays as it is, the container runtime translates it
		file = "C:" + strings.ReplaceAll(file, "/", `\`)
	}
	expiration, warning := p.tokenExpiration(s.AnnotationPrefix+"/token-expiration", s.TokenExpirationSeconds)
	return grant{
		label: Label,
		keys: []variable{
			{"AWS_CONTAINER_CREDENTIALS_FULL_URI", s.CredentialsFullURI},
			{"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file},
		},
		volume:     s.VolumeName,
		mountPath:  s.MountPath,
		file:       s.TokenFile,
		audience:   s.Audience,
		expiration: expiration,
	}, warning
}

func (m *Mutation) warn(text string) {
	if text != "" {
		m.Warnings = append(m.Warnings, text)
	}
}

func (m *Mutation) add(path string, value any) {
	m.Patch = append(m.Patch, Operation{"add", path, value})
}

func (m *Mutation) addLabel(p *pod, label string) {
	const value = "enabled"
	one := map[string]string{label: value}
	switch {
	case p.Metadata == nil:
		m.add("/metadata", map[string]any{"labels": one})
	case len(p.Metadata.Labels) == 0:
		m.add("/metadata/labels", one)
	case p.Metadata.Labels[label] != value:
		m.add("/metadata/labels/"+strings.ReplaceAll(label, "/", "~1"), value)
	}
}

// addVolume adds the token's volume in front of the others, where Amazon's webhook puts it.
func (m *Mutation) addVolume(p *pod, g grant, s Settings) {
	if has(p.Spec.Volumes, g.volume) {
		return
	}
	expiration := g.expiration
	if expiration == dayLong && s.Jitter != nil {
		expiration -= s.Jitter(jitterSeconds + 1)
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
	v := volume{g.volume, projected{[]source{{token{g.audience, expiration, g.file}}}}}
	if len(p.Spec.Volumes) == 0 {
		m.add("/spec/volumes", []volume{v})
		return
	}
	m.add("/spec/volumes/0", v)
}

// addToContainer adds variables and mount to one container. One that has keys, region and STS setting of its own is taken to
// be set up by hand and left alone, mount included.
func (m *Mutation) addToContainer(path string, c *container, skip []string, g grant, s Settings) {
	if c == nil || slices.Contains(skip, c.Name) {
		return
	}
	names := make([]string, len(g.keys))
	for i, key := range g.keys {
		names[i] = key.Name
	}
	hasKeys := c.defines(names...)
	hasRegion := c.defines("AWS_DEFAULT_REGION", "AWS_REGION")
	hasSTS := c.defines("AWS_STS_REGIONAL_ENDPOINTS")
	if hasKeys && hasRegion && hasSTS {
		return
	}
	var env []variable
	if s.RegionalSTS && !hasSTS {
		env = append(env, variable{"AWS_STS_REGIONAL_ENDPOINTS", "regional"})
	}
	if s.Region != "" && !hasRegion {
		env = append(env, variable{"AWS_DEFAULT_REGION", s.Region}, variable{"AWS_REGION", s.Region})
	}
	if !hasKeys {
		env = append(env, g.keys...)
		m.warnOfRivals(c)
	}
	if s.EndpointURL != "" && !c.defines("AWS_ENDPOINT_URL") {
		env = append(env, variable{"AWS_ENDPOINT_URL", s.EndpointURL})
	}
	appendAll(m, path+"/env", len(c.Env) == 0, env)

	if !has(c.VolumeMounts, g.volume) {
		type mount struct {
			Name      string `json:"name"`
			MountPath string `json:"mountPath"`
			ReadOnly  bool   `json:"readOnly"`
		}
		appendAll(m, path+"/volumeMounts", len(c.VolumeMounts) == 0, []mount{{g.volume, g.mountPath, true}})
	}
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

// warnOfRivals tells of variables for which SDKs give up the container's credentials: all of them look there first.
// See https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
func (m *Mutation) warnOfRivals(c *container) {
	for _, rival := range []string{"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		if c.defines(rival) {
			m.warn(fmt.Sprintf("container %q sets %s, which AWS SDKs use instead of Pod Identity", c.Name, rival))
		}
	}
}
