package webhook

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The variables that programs take a proxy and its exceptions from. Which spelling goes first differs from one to the next.
var (
	proxyVariables     = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}
	exceptionVariables = []string{"NO_PROXY", "no_proxy"}
)

// bypassProxy makes the agent an exception of the container's proxy: an SDK that asks a proxy for its credentials gets none, or
// somebody else's. What is in a variable already stays, in front. A container with a proxy and without exceptions gets both
// variables, unless others may come from a secret or a config map (envFrom), which they would hide.
// See https://docs.aws.amazon.com/eks/latest/userguide/pod-id-configure-pods.html.
//
// Without AppendNoProxy it only warns.
func (m *Mutation) bypassProxy(path string, c *container, s Settings) []variable {
	hosts := agentExceptions(s.CredentialsFullURI)
	found, reached := false, true
	for _, name := range exceptionVariables {
		i := c.last(name)
		if i < 0 {
			continue
		}
		found = true
		env, old, op := c.Env[i], "", "add" // which replaces a null
		if env.Value != nil {
			old, op = *env.Value, "replace"
		}
		switch value := addExceptions(old, hosts); {
		case env.ValueFrom != nil:
			reached = false // as far as can be told
		case value == old:
		case s.AppendNoProxy:
			m.Patch = append(m.Patch, Operation{op, path + "/env/" + strconv.Itoa(i) + "/value", value})
		default:
			reached = false
		}
	}
	switch {
	case !c.defines(proxyVariables...) || found && reached:
		return nil
	case !found && s.AppendNoProxy && len(c.EnvFrom) == 0:
		value := strings.Join(hosts, ",")
		return []variable{{exceptionVariables[0], value}, {exceptionVariables[1], value}}
	}
	m.warn(fmt.Sprintf("container %q uses a proxy: see that its NO_PROXY has %s, or AWS SDKs will ask the proxy for credentials",
		c.Name, strings.Join(hosts, " and ")))
	return nil
}

// agentExceptions are what reaches the agent past a proxy: both of the addresses that EKS's node agent may have, or the host of
// any other.
func agentExceptions(uri string) []string {
	switch host := agentHost(uri); {
	case host == eksIPv4 || host == eksIPv6:
		return []string{eksIPv4, "[" + eksIPv6 + "]"}
	case strings.Contains(host, ":"):
		return []string{"[" + host + "]"}
	default:
		return []string{host}
	}
}

// addExceptions appends those hosts to a list of exceptions that are not in it.
func addExceptions(list string, hosts []string) string {
	var entries []string
	for entry := range strings.SplitSeq(list, ",") {
		entries = append(entries, strings.Trim(strings.TrimSpace(entry), "[]"))
	}
	if slices.Contains(entries, "*") {
		return list
	}
	for _, host := range hosts {
		if slices.Contains(entries, strings.Trim(host, "[]")) {
			continue
		}
		if list != "" {
			list += ","
		}
		list += host
	}
	return list
}
