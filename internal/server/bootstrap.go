package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/podid/podid/internal/authn"
	"github.com/podid/podid/internal/credential"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
)

const (
	adminName   = "admin"
	adminPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
)

// bootstrap makes what must be there before anything can be asked for: the keyring, the administrator and the ways into the member
// accounts. Every step only adds what
// is missing, and where another replica was faster takes what that one made.
type bootstrap struct {
	*Server
	epochs *store.Collection[credential.Epoch]
	known  *store.Index[credential.Epoch]
}

// newBootstrap defines its collection; the store must not be loaded yet.
func newBootstrap(s *Server) *bootstrap {
	epochs := store.Define[credential.Epoch](s.store, "keyring")
	return &bootstrap{s, epochs, store.NewIndex(epochs, func(_ string, e credential.Epoch) credential.Epoch { return e })}
}

func (b *bootstrap) run(ctx context.Context) error {
	if err := b.openKeyring(ctx); err != nil {
		return fmt.Errorf("opening the keyring: %w", err)
	}
	if err := b.makeAdmin(ctx); err != nil {
		return fmt.Errorf("making the administrator: %w", err)
	}
	for _, id := range b.cfg.MemberAccountIDs {
		if err := b.makeMemberRole(ctx, id); err != nil {
			return fmt.Errorf("making the role %s of account %s: %w", memberRole, id, err)
		}
	}
	return nil
}

// memberRole is what AWS Organizations calls the role by which an organization gets into an account that it has made.
// See https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_accounts_access.html.
const memberRole = "OrganizationAccountAccessRole"

// makeMemberRole makes the administrators' way into a member account, so that no further long-term key needs to be anywhere. A role of
// that name that is there is left as it is.
func (b *bootstrap) makeMemberRole(ctx context.Context, accountID string) error {
	administrators := identity.ARN{Partition: b.cfg.Partition, Service: "iam", AccountID: b.cfg.AccountID, Resource: "root"}
	policy := identity.ARN{Partition: b.cfg.Partition, Service: "iam", AccountID: identity.AWSAccount, Resource: "policy/AdministratorAccess"}
	role := identity.Role{
		AccountID: accountID, Partition: b.cfg.Partition, Path: "/", Name: memberRole,
		ID: identity.NewID(rand.Reader, identity.RoleID, accountID), MaxSessionDuration: 3600, CreatedAt: b.cfg.Now(),
		TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + administrators.String() +
			`"},"Action":"sts:AssumeRole"}]}`,
		Permissions: identity.Permissions{AttachedPolicies: []string{policy.String()}},
	}
	err := b.store.Commit(ctx, b.directory.Roles.Create(directory.Key(accountID, memberRole), role))
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	return err
}

// openKeyring unwraps the keys that credentials are sealed with; the root key that wraps them is a file.
func (b *bootstrap) openKeyring(ctx context.Context) error {
	file := cmp.Or(b.cfg.RootKeyFile, filepath.Join(b.cfg.DataDir, "root.key"))
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && b.known.Len("") > 0 {
		return fmt.Errorf("the state was made by a server with another root key: give this one the same, as %s (mode 0600)", file)
	}
	root, err := credential.LoadOrCreateRootKey(file)
	if err != nil {
		return err
	}
	if b.known.Len("") == 0 {
		const first = 1
		epoch, err := root.NewEpoch(first, b.cfg.Now())
		if err != nil {
			return err
		}
		err = b.store.Commit(ctx, b.epochs.Create(strconv.Itoa(first), epoch))
		if err != nil && !errors.Is(err, store.ErrExists) {
			return err
		}
	}
	var epochs []credential.Epoch
	for _, epoch := range b.known.Scan("", "") {
		epochs = append(epochs, epoch)
	}
	b.keyring, err = credential.NewKeyring(root, epochs...)
	return err
}

// makeAdmin makes the administrator and an access key for it, or opens the first of its keys that is active. So whoever has deleted the
// administrator or its keys gets new ones when the server starts again: who has its data directory is in command anyway.
func (b *bootstrap) makeAdmin(ctx context.Context) error {
	user := identity.User{
		AccountID: b.cfg.AccountID, Partition: b.cfg.Partition, Path: "/", Name: adminName,
		ID:          identity.NewID(rand.Reader, identity.UserID, b.cfg.AccountID),
		Permissions: identity.Permissions{InlinePolicies: map[string]string{"AdministratorAccess": adminPolicy}}, CreatedAt: b.cfg.Now(),
	}
	at := directory.Key(user.AccountID, user.Name)
	err := b.store.Commit(ctx, b.directory.Users.Create(at, user))
	if err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	admin, err := b.directory.Users.Get(ctx, at)
	if err != nil {
		return err
	}
	for _, id := range admin.AccessKeyIDs {
		if key, ok := b.directory.AccessKey(id); ok && !key.Inactive {
			secret, err := b.keyring.Unseal(authn.AccessKeyPurpose+key.ID, key.SealedSecret)
			if err != nil {
				return fmt.Errorf("unsealing the secret of %s: %w", key.ID, err)
			}
			b.admin = Admin{key.ID, identity.Secret(secret)}
			return nil
		}
	}
	id, secret := identity.NewID(rand.Reader, identity.LongTermAccessKey, b.cfg.AccountID), identity.NewSecretAccessKey(rand.Reader)
	sealed, err := b.keyring.Seal(authn.AccessKeyPurpose+id, []byte(secret.Reveal()))
	if err != nil {
		return err
	}
	b.admin = Admin{id, secret}
	_, err = b.directory.Users.Change(ctx, at, func(u *identity.User) ([]store.Op, error) {
		u.AccessKeyIDs = append(u.AccessKeyIDs, id)
		return []store.Op{b.directory.AccessKeys.Create(id, identity.AccessKey{
			ID: id, AccountID: b.cfg.AccountID, UserName: u.Name, SealedSecret: sealed, CreatedAt: b.cfg.Now(),
		})}, nil
	})
	return err
}
