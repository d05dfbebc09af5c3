package podrun

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// guards close the ways past the pod's environment to the identity of the machine or of whoever runs it. HOME is passed on, so
// without them an SDK that found nothing in the environment would use the profiles in ~/.aws, or ask the instance that this may
// be; and a test of "the pod has no credentials" would pass or fail by accident. BOTO_CONFIG is the oldest such file, which
// Python's SDK still reads. empty is an empty file.
// See https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
func guards(empty string) []envVar {
	return []envVar{
		{Name: "AWS_SHARED_CREDENTIALS_FILE", Value: empty},
		{Name: "AWS_CONFIG_FILE", Value: empty},
		{Name: "BOTO_CONFIG", Value: empty},
		{Name: "AWS_EC2_METADATA_DISABLED", Value: "true"},
	}
}

// passed are the caller's variables that the process gets too. No program runs well without them, and they give no identity.
var passed = []string{"PATH", "HOME", "TERM"}

// environment is an ordered set of variables.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if e.values == nil {
		e.values = map[string]string{}
	}
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// list is the form that os/exec takes.
func (e *environment) list() []string {
	list := make([]string, 0, len(e.names))
	for _, name := range e.names {
		list = append(list, name+"="+e.values[name])
	}
	return list
}

// parseEnv reads NAME=value pairs.
func parseEnv(pairs []string) (*environment, error) {
	var e environment
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" || strings.ContainsRune(pair, 0) {
			return nil, fmt.Errorf("variable %q: want NAME=value", name)
		}
		e.set(name, value)
	}
	return &e, nil
}

// envSource is all that a container's environment is made of.
type envSource struct {
	pod       *pod
	container *container
	caller    []string     // the caller's whole environment
	extra     *environment // set last, and before a value that cannot be had
	paths     paths
	empty     string // an empty file
	skipFrom  bool   // envFrom is not an error
}

// build makes the environment of the container's process: the passed variables, the guards, the pod's own, the extra ones,
// each able to replace those before it. references are the values that the container's command may refer to, with paths as they
// are in the container. Everything that cannot be had is named in one error.
func (s envSource) build() (env *environment, references map[string]string, err error) {
	own, missing := s.own()
	if len(missing) > 0 {
		return nil, nil, fmt.Errorf("container %s wants variables that cannot be had here: %s; give them as extra variables, "+
			"or make them optional", s.container.Name, strings.Join(missing, ", "))
	}
	env = &environment{}
	for _, name := range passed {
		for _, pair := range s.caller {
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				env.set(name, value)
			}
		}
	}
	for _, guard := range guards(s.empty) {
		env.set(guard.Name, guard.Value)
	}
	for _, name := range own.names {
		env.set(name, s.paths.rewrite(own.values[name]))
	}
	for _, name := range s.extra.names {
		env.set(name, s.extra.values[name])
		own.set(name, s.extra.values[name])
	}
	if env.values["AWS_WEB_IDENTITY_TOKEN_FILE"] != "" && env.values["AWS_ROLE_SESSION_NAME"] == "" {
		env.set("AWS_ROLE_SESSION_NAME", s.pod.sessionName())
	}
	return env, own.values, nil
}

// own resolves the container's own variables. An extra variable stands in for one of its name from the start, so that it also
// shows where others refer to it.
func (s envSource) own() (own *environment, missing []string) {
	own = &environment{}
	for _, from := range s.container.EnvFrom {
		if what, optional := from.describe(); !optional && !s.skipFrom {
			missing = append(missing, "all of "+what)
		}
	}
	for _, v := range s.container.Env {
		if value, ok := s.extra.values[v.Name]; ok {
			own.set(v.Name, value)
			continue
		}
		if v.ValueFrom == nil {
			own.set(v.Name, expand(v.Value, own.values))
			continue
		}
		value, what, optional := s.valueFrom(v.ValueFrom)
		switch {
		case what == "":
			own.set(v.Name, value)
		case !optional:
			missing = append(missing, v.Name+" ("+what+")")
		}
	}
	return own, missing
}

// valueFrom finds a value that the pod only points to; what names one that cannot be found here.
func (s envSource) valueFrom(from *valueFrom) (value, what string, optional bool) {
	switch {
	case from.FieldRef != nil:
		if value, ok := s.pod.field(from.FieldRef.FieldPath); ok {
			return value, "", false
		}
		return "", "field " + from.FieldRef.FieldPath, false
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		return "", "secret " + ref.Name + ", key " + ref.Key, ref.Optional
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		return "", "config map " + ref.Name + ", key " + ref.Key, ref.Optional
	}
	return "", "neither a field, a secret nor a config map", false
}

func (f envFrom) describe() (what string, optional bool) {
	switch {
	case f.SecretRef != nil:
		return "secret " + f.SecretRef.Name, f.SecretRef.Optional
	case f.ConfigMapRef != nil:
		return "config map " + f.ConfigMapRef.Name, f.ConfigMapRef.Optional
	}
	return "something that is neither a secret nor a config map", false
}

// expand replaces $(NAME) by the variable's value. References to what is not defined stay as they are, and $$ is a dollar sign
// that begins no reference.
// See https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/.
func expand(s string, values map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		s = after
		switch {
		case strings.HasPrefix(s, "$"):
			b.WriteByte('$')
			s = s[1:]
		case strings.HasPrefix(s, "("):
			name, rest, closed := strings.Cut(s[1:], ")")
			value, ok := values[name]
			if !closed || !ok { // what follows may hold references of its own only after the closing bracket
				b.WriteString("$(")
				s = s[1:]
				if closed {
					b.WriteString(name + ")")
					s = rest
				}
				continue
			}
			b.WriteString(value)
			s = rest
		default:
			b.WriteByte('$')
		}
	}
}

// paths maps directories of the container to directories here, longest first.
type paths []struct{ container, local string }

func (p *paths) add(container, local string) {
	if container = path.Clean(container); container == "/" || container == "." {
		return
	}
	*p = append(*p, struct{ container, local string }{container, local})
	slices.SortStableFunc(*p, func(a, b struct{ container, local string }) int { return len(b.container) - len(a.container) })
}

// rewrite replaces the container's directories in a value, wherever one stands as a whole path or at the beginning of one:
// alone, in a file URL, in a list.
func (p paths) rewrite(value string) string {
	var b strings.Builder
next:
	for i := 0; i < len(value); {
		if i == 0 || !pathByte(value[i-1]) {
			for _, m := range p {
				rest, ok := strings.CutPrefix(value[i:], m.container)
				if ok && (rest == "" || !pathByte(rest[0])) {
					b.WriteString(m.local)
					i += len(m.container)
					continue next
				}
			}
		}
		b.WriteByte(value[i])
		i++
	}
	return b.String()
}

// pathByte tells whether c continues the name of a file or directory.
func pathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-~+@%", c) >= 0 || c >= 0x80
}
