package policy

// Names tells whether an Allow statement is about the action and names the principal, whatever its conditions. It is for judging
// a trust policy before there is a request whose condition keys could be known; it grants nothing.
func (p *Policy) Names(who Principal, action string) bool {
	req := &Request{Action: action, Principal: who}
	for _, s := range p.statements {
		if s.effect == Allow && s.matchAction(req) && s.reach(req) != nobody {
			return true
		}
	}
	return false
}
