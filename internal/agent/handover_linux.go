package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// How one agent replaces another without a gap. The running agent, the predecessor, listens on a Unix socket of packets in the
// hand-over directory. The next one, the successor, connects to it and gets one packet: an offer, with the listening sockets
// themselves as file descriptors. It serves on them and says so. From then on the predecessor accepts nothing more, but keeps the
// sockets until it is told to stop. The connection between the two stays: when it ends before that, the successor has gone, and the
// predecessor serves again. Whatever happens, one of them holds the sockets, so that the kernel refuses and forgets no connection.

const (
	offerVersion  = 1
	maxOffer      = 4 << 10 // bytes
	maxSockets    = 64
	offerTimeout  = 5 * time.Second  // for an offer to be made
	servesTimeout = 10 * time.Second // for the successor to serve
	retryPause    = 100 * time.Millisecond
)

// offer names listening sockets that are passed on, in the order of the file descriptors that come with it.
type offer struct {
	Version int
	Sockets []string // what each is for
}

// MakeHandoverDir makes a hand-over directory for an agent that runs as a user, or makes one of a directory that is there.
func MakeHandoverDir(dir string, uid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making the hand-over directory: %w", err)
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("making the hand-over directory: %s is no directory (%v)", dir, err)
	}
	if err := errors.Join(os.Lchown(dir, uid, -1), os.Chmod(dir, 0o700)); err != nil {
		return fmt.Errorf("making the hand-over directory: %w", err)
	}
	_, err := ownerOf(dir)
	return err
}

// ownerOf returns who owns a hand-over directory. Whoever gets into it can get every pod's token, so nobody but the owner may.
func ownerOf(dir string) (uid uint32, err error) {
	var stat unix.Stat_t
	if err := unix.Lstat(dir, &stat); err != nil {
		return 0, fmt.Errorf("looking at the hand-over directory %s: %w", dir, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR || stat.Mode&0o077 != 0 {
		return 0, fmt.Errorf("hand-over directory %s: want a directory that only its owner gets into, mode 0700", dir)
	}
	return stat.Uid, nil
}

// inherit asks the agent that runs for its sockets, and returns them by what each is for. The connection
// must stay open as long as they are served. There is none if no agent runs.
func inherit(dir string) (map[string]*net.TCPListener, *net.UnixConn, error) {
	owner, err := ownerOf(dir)
	if err != nil {
		return nil, nil, err
	}
	if owner != 0 && owner != uint32(os.Geteuid()) {
		return nil, nil, fmt.Errorf("hand-over directory %s belongs to user %d, and the agent runs as %d", dir, owner, os.Geteuid())
	}
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: filepath.Join(dir, "agent.sock")})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("asking the running agent for its sockets: %w", err)
	}
	sockets, err := receive(conn)
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("taking the sockets of the running agent over: %w", err)
	}
	return sockets, conn, nil
}

func receive(conn *net.UnixConn) (sockets map[string]*net.TCPListener, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(offerTimeout)); err != nil {
		return nil, err
	}
	data, rights := make([]byte, maxOffer), make([]byte, unix.CmsgSpace(4*maxSockets))
	n, rightsLen, flags, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		return nil, err
	}
	var fds []int
	messages, parseErr := unix.ParseSocketControlMessage(rights[:rightsLen])
	for _, m := range messages {
		some, err := unix.ParseUnixRights(&m)
		parseErr = cmp.Or(parseErr, err)
		fds = append(fds, some...)
	}
	var files []*os.File // from here on nothing is left open by an error
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "socket"))
	}
	sockets = map[string]*net.TCPListener{}
	defer func() {
		for _, f := range files {
			_ = f.Close() // the listeners have descriptors of their own
		}
		if err != nil {
			closeAll(sockets)
			sockets = nil
		}
	}()
	if n == 0 {
		return sockets, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || parseErr != nil {
		return sockets, fmt.Errorf("the kernel does not deliver them; SELinux, or another security module, may forbid it (%v)", parseErr)
	}
	var o offer
	if err := json.Unmarshal(data[:n], &o); err != nil || o.Version != offerVersion || len(o.Sockets) != len(files) {
		return sockets, fmt.Errorf("its offer of version %d with %d names for %d sockets is not understood", o.Version, len(o.Sockets), len(files))
	}
	for i, f := range files {
		l, err := net.FileListener(f)
		if err != nil {
			return sockets, fmt.Errorf("the socket for %s: %w", o.Sockets[i], err)
		}
		tcp, ok := l.(*net.TCPListener)
		if _, twice := sockets[o.Sockets[i]]; !ok || twice {
			_ = l.Close()
			return sockets, fmt.Errorf("the socket for %s is of %s, or the second one", o.Sockets[i], l.Addr().Network())
		}
		sockets[o.Sockets[i]] = tcp
	}
	return sockets, nil
}

func closeAll(sockets map[string]*net.TCPListener) {
	for _, l := range sockets {
		_ = l.Close()
	}
}

// succeed tells the predecessor that this agent serves, and then waits for successors of its own until ctx ends.
func (a *Agent) succeed(ctx context.Context) error {
	group := new(errgroup.Group)
	if err := a.await(ctx, group); err != nil {
		return err
	}
	if conn := a.predecessor; conn != nil {
		context.AfterFunc(ctx, func() { _ = conn.Close() }) // and the predecessor, if it is still there, serves again
		if _, err := conn.Write([]byte("serves")); err == nil {
			a.company.Add(1)
			group.Go(func() error {
				_ = conn.SetReadDeadline(time.Time{})
				_, _ = conn.Read(make([]byte, 1)) // says nothing more, but ends
				if ctx.Err() == nil {
					a.company.Add(-1)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// await opens the Unix socket on which successors come. It replaces that of any other agent in one step.
func (a *Agent) await(ctx context.Context, group *errgroup.Group) error {
	name, err := os.CreateTemp(a.config.HandoverDir, "agent-*.sock")
	if err != nil {
		return fmt.Errorf("opening the hand-over socket: %w", err)
	}
	_ = errors.Join(name.Close(), os.Remove(name.Name())) // it was for the name
	socket, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: name.Name()})
	if err != nil {
		return fmt.Errorf("opening the hand-over socket: %w", err)
	}
	socket.SetUnlinkOnClose(false) // by then the name can be another agent's
	// Only who gets into the directory gets to the socket; passOn looks at who it is.
	err = errors.Join(os.Chmod(name.Name(), 0o666), os.Rename(name.Name(), filepath.Join(a.config.HandoverDir, "agent.sock")))
	if err != nil {
		_ = errors.Join(socket.Close(), os.Remove(name.Name()))
		return fmt.Errorf("opening the hand-over socket: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = socket.Close() })
	group.Go(func() error {
		for {
			conn, err := socket.AcceptUnix()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if err != nil {
				a.log.Warn("successor cannot be received", "err", err)
				time.Sleep(retryPause)
				continue
			}
			group.Go(func() error {
				a.passOn(ctx, conn)
				if ctx.Err() == nil && a.successors.Load() == 0 {
					// Its socket has the name now, or somebody who was refused came. Either way this agent is the one to ask.
					_ = socket.Close()
					if err := a.await(ctx, group); err != nil {
						a.log.Error("no successor can take over", "err", err)
					}
				}
				return nil
			})
		}
	})
	return nil
}

// passOn gives the listening sockets to a successor and stands by until it has gone.
func (a *Agent) passOn(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := a.admit(conn); err != nil {
		a.log.Warn("sockets are not passed on", "err", err)
		return
	}
	if err := a.send(conn); err != nil {
		a.log.Warn("sockets are not passed on", "err", err)
		return
	}
	said := make([]byte, 16)
	n, err := conn.Read(said)
	if err != nil || string(said[:n]) != "serves" {
		a.log.Warn("successor has not come to serve", "err", err)
		return
	}
	a.log.Info("another agent serves, this one stands by")
	a.company.Add(1)
	if a.successors.Add(1) == 1 {
		a.setGates((*gate).shut)
	}
	_ = conn.SetDeadline(time.Time{})
	_, _ = conn.Read(said) // until the other one has gone
	if ctx.Err() != nil {
		return
	}
	a.company.Add(-1)
	if a.successors.Add(-1) == 0 {
		a.setGates((*gate).open)
		a.log.Info("the other agent has gone, this one serves again")
	}
}

// admit tells whether the process at the other end may have the sockets.
func (a *Agent) admit(conn *net.UnixConn) error {
	owner, err := ownerOf(a.config.HandoverDir)
	if err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if peerErr != nil {
		return fmt.Errorf("asking who the successor is: %w", peerErr)
	}
	if !mayHave(peer.Uid, uint32(os.Geteuid()), owner) {
		return fmt.Errorf("user %d must not have them", peer.Uid)
	}
	return nil
}

// mayHave tells whether a user may have this one's sockets: root, the same one, or the owner of the directory, who can put his own
// socket there anyway.
func mayHave(peer, own, owner uint32) bool { return peer == 0 || peer == own || peer == owner }

func (a *Agent) send(conn *net.UnixConn) error {
	o := offer{Version: offerVersion}
	var fds []int
	for _, l := range a.listeners {
		f, err := l.File()
		if err != nil {
			return err
		}
		defer f.Close()
		raw, err := f.SyscallConn() // File.Fd would have all holders of the socket block
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return err
		}
		o.Sockets = append(o.Sockets, l.name)
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(servesTimeout)); err != nil {
		return err
	}
	_, _, err = conn.WriteMsgUnix(data, unix.UnixRights(fds...), nil)
	return err
}

func (a *Agent) setGates(set func(*gate) error) {
	for _, l := range a.listeners {
		if err := set(l.gate); err != nil {
			a.log.Error("listener does not change", "listener", l.name, "err", err)
		}
	}
}
