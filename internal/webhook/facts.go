package webhook

// ServiceAccountFacts is all that the mutation of a pod depends on besides the pod and the settings.
type ServiceAccountFacts struct {
	// Associated: it has a pod identity association, which goes before any role of Annotations or Mapped.
	Associated bool
	// Found: the ServiceAccount object itself is known. Without it there are no Annotations.
	Found bool
	// Annotations of the ServiceAccount. Those that do not begin with the prefix of the settings may be left out.
	Annotations map[string]string
	// Mapped is what the [Mapping] has for it. Nil: nothing.
	Mapped *MappedRole
}
