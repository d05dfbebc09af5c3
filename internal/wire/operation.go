package wire

import (
	"context"
	"reflect"

	"github.com/podid/podid/internal/audit"
	"github.com/podid/podid/internal/denial"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
)

// Service is one AWS service: its name, its protocol and its operations.
type Service struct {
	Name       string // in SigV4 scopes and metrics: eks, eks-auth, sts, iam
	Protocol   Protocol
	Operations []Operation
	Denied     func(message string) *Error // how the service spells a refusal by policy
	Fault      func(message string) *Error // how it spells an error that is nobody's but ours
}

// Operation is one operation of a service, made by [Op].
type Operation struct {
	name      string
	method    string // restJson1 only
	path      string // restJson1 only: /clusters/{name}, with a last {name...} taking the rest
	anonymous bool
	input     reflect.Type
	run       func(ctx context.Context, call *Call, in any) (any, error)
}

// Access is what an operation asks permission for.
type Access = directory.Access

// Op declares an operation. The route is "METHOD /path/{label}" in restJson1 and empty in awsQuery, where the name is the route.
//
// access says which permission the input needs; it may look up the resource, and an error ends the call. It is nil only for
// operations that decide themselves who may call them (AssumeRole asks the role's trust policy) or that everybody may call
// (GetCallerIdentity).
func Op[In, Out any](name, route string, access func(*Call, *In) (Access, error), handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	method, path := splitRoute(route)
	return Operation{
		name: name, method: method, path: path, input: reflect.TypeFor[In](),
		run: func(ctx context.Context, call *Call, in any) (any, error) {
			input := in.(*In)
			if v, ok := in.(interface{ Validate() error }); ok {
				if err := v.Validate(); err != nil {
					return nil, err
				}
			}
			if access != nil {
				need, err := access(call, input)
				if err != nil {
					return nil, err
				}
				if err := call.Authorize(need); err != nil {
					return nil, err
				}
			}
			out, err := handle(ctx, call, input)
			if err != nil {
				return nil, err
			}
			return out, nil
		},
	}
}

// eachField calls f for each field of an input structure, those of embedded structures included.
func eachField(v reflect.Value, f func(reflect.StructField, reflect.Value) error) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			if err := eachField(v.Field(i), f); err != nil {
				return err
			}
		} else if err := f(field, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// Unserved declares an awsQuery operation of the service's that is not served, for a refusal that says so.
func Unserved(name string) Operation {
	return Operation{name: name, input: reflect.TypeFor[struct{}](), run: func(context.Context, *Call, any) (any, error) {
		return nil, &Error{queryErrors.unknownOperation, queryErrors.unknownOperationStatus, "podid does not serve the operation " + name + ".", nil}
	}}
}

// Anonymous marks an operation that needs no signature, because its input proves who calls: AssumeRoleWithWebIdentity.
func (o Operation) Anonymous() Operation {
	o.anonymous = true
	return o
}

// Call is one request on its way through an operation.
type Call struct {
	Caller identity.Caller
	Region string       // of the signature's scope: the region the client thinks it talks to
	Entry  *audit.Entry // the operation adds what it learns; written when the call ends

	request   directory.Request
	directory *directory.Directory
	denials   *denial.Sealer
	denied    func(string) *Error
	sealed    string // why a policy refused the call, for those who may know; empty if none did
}

// RequestID names this call in the answer's x-amzn-RequestId header, the log and the audit trail.
func (c *Call) RequestID() string { return c.Entry.RequestID }

// Request is what the call itself contributes to policy decisions: caller, time, address.
func (c *Call) Request() directory.Request { return c.request }

// Authorize asks whether the caller may do something. It returns nil, the service's denial with AWS's text, or a fault.
func (c *Call) Authorize(need Access) error {
	c.Entry.Resource = need.Resource
	why, err := c.directory.Authorize(&c.request, need)
	if err != nil {
		return err
	}
	if why.Decision.Allowed {
		return nil
	}
	c.Entry.Reason = why.String()
	if c.denials != nil {
		if c.sealed, err = c.denials.Seal(&c.Caller, &why); err != nil {
			return err
		}
	}
	return c.denied(why.Decision.Message(c.Caller.ARN))
}
