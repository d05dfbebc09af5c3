package iam

import (
	"context"
	"errors"
	"slices"

	"github.com/podid/podid/internal/authn"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

// maxAccessKeys is how many access keys a user may have, inactive ones included.
const maxAccessKeys = 2

type accessKeyStructure struct {
	UserName        string    `xml:"UserName"`
	AccessKeyID     string    `xml:"AccessKeyId"`
	Status          string    `xml:"Status"`
	SecretAccessKey string    `xml:"SecretAccessKey,omitempty"` // in the answer that makes the key, and never again
	CreateDate      wire.Time `xml:"CreateDate"`
}

func describeAccessKey(key *identity.AccessKey) accessKeyStructure {
	status := "Active"
	if key.Inactive {
		status = "Inactive"
	}
	return accessKeyStructure{UserName: key.UserName, AccessKeyID: key.ID, Status: status, CreateDate: wire.Time(key.CreatedAt)}
}

type createAccessKeyOutput struct {
	AccessKey accessKeyStructure `xml:"AccessKey"`
}

// CreateAccessKey makes an access key of a user. Its secret is in this answer only; it is stored sealed.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateAccessKey.html.
func (s *Service) CreateAccessKey(ctx context.Context, call *wire.Call, in *ownUserInput) (*createAccessKeyOutput, error) {
	name, err := in.name(call)
	if err != nil {
		return nil, err
	}
	id, secret := identity.NewID(s.Random, identity.LongTermAccessKey, call.Caller.AccountID), identity.NewSecretAccessKey(s.Random)
	key := identity.AccessKey{ID: id, AccountID: call.Caller.AccountID, CreatedAt: s.Now()}
	if key.SealedSecret, err = s.Keyring.Seal(authn.AccessKeyPurpose+id, []byte(secret.Reveal())); err != nil {
		return nil, err
	}
	_, err = s.Directory.Users.Change(ctx, directory.Key(call.Caller.AccountID, name), func(u *identity.User) ([]store.Op, error) {
		if len(u.AccessKeyIDs) >= maxAccessKeys {
			return nil, errLimitExceeded("Cannot exceed quota for AccessKeysPerUser: %d", maxAccessKeys)
		}
		u.AccessKeyIDs = append(u.AccessKeyIDs, id)
		key.UserName = u.Name
		return []store.Op{s.Directory.AccessKeys.Create(id, key)}, nil
	})
	if err != nil {
		return nil, userError(err, name)
	}
	out := &createAccessKeyOutput{describeAccessKey(&key)}
	out.AccessKey.SecretAccessKey = secret.Reveal()
	return out, nil
}

type listAccessKeysOutput struct {
	AccessKeyMetadata []accessKeyStructure `xml:"AccessKeyMetadata>member"`
	pageEnd
}

// ListAccessKeys describes a user's access keys, without their secrets.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAccessKeys.html.
func (s *Service) ListAccessKeys(ctx context.Context, call *wire.Call, in *pagedOwnUserInput) (*listAccessKeysOutput, error) {
	name, err := in.name(call)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, call, name)
	if err != nil {
		return nil, err
	}
	out := &listAccessKeysOutput{}
	for _, id := range paginate(user.AccessKeyIDs, &in.page, &out.pageEnd, func(id string) string { return id }) {
		if key, ok := s.Directory.AccessKey(id); ok {
			out.AccessKeyMetadata = append(out.AccessKeyMetadata, describeAccessKey(key))
		}
	}
	return out, nil
}

type accessKeyInput struct {
	ownUserInput
	AccessKeyID string `form:"AccessKeyId"`
}

// Validate checks the user's name and the form of the key's id.
func (in *accessKeyInput) Validate() error {
	if err := checkAccessKeyID(in.AccessKeyID); err != nil {
		return err
	}
	return in.ownUserInput.Validate()
}

func checkAccessKeyID(id string) error {
	if len(id) < 16 || len(id) > 128 {
		return errConstraint(id[:min(len(id), 60)], "accessKeyId", "Member must have length between 16 and 128")
	}
	return nil
}

func errNoAccessKey(id string) error {
	return errNoSuchEntity("The Access Key with id %s cannot be found.", id)
}

type updateAccessKeyInput struct {
	accessKeyInput
	Status string `form:"Status"`
}

// UpdateAccessKey makes a key inactive, so that nothing signed with it is accepted, or active again. It counts at once.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateAccessKey.html.
func (s *Service) UpdateAccessKey(ctx context.Context, call *wire.Call, in *updateAccessKeyInput) (*empty, error) {
	if in.Status != "Active" && in.Status != "Inactive" {
		return nil, errConstraint(in.Status[:min(len(in.Status), 60)], "status", "Member must satisfy enum value set: [Active, Inactive]")
	}
	if err := s.ownsKey(ctx, call, &in.accessKeyInput); err != nil {
		return nil, err
	}
	_, err := s.Directory.AccessKeys.Update(ctx, in.AccessKeyID, func(key *identity.AccessKey) error {
		key.Inactive = in.Status == "Inactive"
		return nil
	})
	return &empty{}, keyError(err, in.AccessKeyID)
}

// ownsKey refuses a key that is not one of the user's.
func (s *Service) ownsKey(ctx context.Context, call *wire.Call, in *accessKeyInput) error {
	name, err := in.name(call)
	if err != nil {
		return err
	}
	user, err := s.user(ctx, call, name)
	if err == nil && !slices.Contains(user.AccessKeyIDs, in.AccessKeyID) {
		return errNoAccessKey(in.AccessKeyID)
	}
	return err
}

// keyError spells the store's facts about an access key; anything else stays a fault.
func keyError(err error, id string) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errNoAccessKey(id)
	case errors.Is(err, store.ErrConflict):
		return errConcurrentModification("The access key " + id)
	default:
		return err
	}
}

// DeleteAccessKey deletes a key. Deleting the last one of the administrator is allowed: the server makes a new one when it starts.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteAccessKey.html.
func (s *Service) DeleteAccessKey(ctx context.Context, call *wire.Call, in *accessKeyInput) (*empty, error) {
	name, err := in.name(call)
	if err != nil {
		return nil, err
	}
	_, err = s.Directory.Users.Change(ctx, directory.Key(call.Caller.AccountID, name), func(u *identity.User) ([]store.Op, error) {
		i := slices.Index(u.AccessKeyIDs, in.AccessKeyID)
		if i < 0 {
			return nil, errNoAccessKey(in.AccessKeyID)
		}
		u.AccessKeyIDs = slices.Delete(u.AccessKeyIDs, i, i+1)
		return []store.Op{s.Directory.AccessKeys.Delete(in.AccessKeyID)}, nil
	})
	return &empty{}, userError(err, name)
}

type keyIDInput struct {
	AccessKeyID string `form:"AccessKeyId"`
}

// Validate checks the form of the key's id.
func (in *keyIDInput) Validate() error { return checkAccessKeyID(in.AccessKeyID) }

// entity is the user that the key belongs to.
func (in *keyIDInput) entity(s *Service, call *wire.Call) (entity, error) {
	key, ok := s.Directory.AccessKey(in.AccessKeyID)
	if !ok || key.AccountID != call.Caller.AccountID {
		return entity{}, errNoAccessKey(in.AccessKeyID)
	}
	return (&userInput{key.UserName}).entity(s, call)
}

type lastUsedStructure struct {
	LastUsedDate *wire.Time `xml:"LastUsedDate"` // absent if it is not known to have been used
	ServiceName  string     `xml:"ServiceName"`
	Region       string     `xml:"Region"`
}

type lastUsedOutput struct {
	UserName          string            `xml:"UserName"`
	AccessKeyLastUsed lastUsedStructure `xml:"AccessKeyLastUsed"`
}

// GetAccessKeyLastUsed tells when a key was last used on this server since it started.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccessKeyLastUsed.html.
func (s *Service) GetAccessKeyLastUsed(_ context.Context, _ *wire.Call, in *keyIDInput) (*lastUsedOutput, error) {
	key, ok := s.Directory.AccessKey(in.AccessKeyID)
	if !ok {
		return nil, errNoAccessKey(in.AccessKeyID)
	}
	out := &lastUsedOutput{key.UserName, lastUsedStructure{ServiceName: "N/A", Region: "N/A"}}
	if use, ok := s.LastUse(key.ID); ok {
		date := wire.Time(use.Time)
		out.AccessKeyLastUsed = lastUsedStructure{&date, use.Service, use.Region}
	}
	return out, nil
}
