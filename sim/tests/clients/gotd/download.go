package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/telegram/downloader"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"
)

const (
	downloadPatience = 100 * time.Second
	partSize         = 512 << 10
	threads          = 8
)

var transports = map[string]transport.Protocol{
	"full":         transport.Full,
	"intermediate": transport.Intermediate,
	"padded":       transport.PaddedIntermediate,
	"abridged":     transport.Abridged,
}

// downloadTask says which file to download, and from where.
type downloadTask struct {
	Session struct {
		HomeDC int          `json:"homeDc"`
		DCs    []dataCentre `json:"dcs"`
	} `json:"session"`
	MediaAddress netip.AddrPort `json:"mediaAddress"`
	ChannelID    int64          `json:"channelId"`
	MessageID    int            `json:"messageId"`
	Transport    string         `json:"transport"`
	Connections  int64          `json:"connections"`
	// Discard throws the bytes away, for measurements.
	Discard bool `json:"discard"`
}

type dataCentre struct {
	ID      int            `json:"id"`
	IPv4    netip.AddrPort `json:"ipv4"`
	AuthKey []byte         `json:"authKey"`
}

// downloaded is what came of it.
type downloaded struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Name   string `json:"name"`
	// Seconds is how long the reading took, once the client was connected.
	Seconds float64 `json:"seconds"`
}

// download finds a message's document by the main door and reads it by the door for files,
// several pieces at a time over several connections.
func download(ctx context.Context, task downloadTask) error {
	ctx, cancel := context.WithTimeout(ctx, downloadPatience)
	defer cancel()
	home, err := task.home()
	if err != nil {
		return err
	}
	protocol, ok := transports[task.Transport]
	if !ok {
		return fmt.Errorf("there is no transport %q", task.Transport)
	}
	mainDoor, err := newClient(ctx, home, home.IPv4, protocol)
	if err != nil {
		return err
	}
	mediaDoor, err := newClient(ctx, home, task.MediaAddress, protocol)
	if err != nil {
		return err
	}
	var document tg.Document
	err = mainDoor.Run(ctx, func(ctx context.Context) error {
		return find(ctx, mainDoor, task, &document)
	})
	if err != nil {
		return fmt.Errorf("looking for the message: %w", err)
	}
	content := &memory{}
	if !task.Discard {
		content.bytes = make([]byte, document.Size)
	}
	var took time.Duration
	err = mediaDoor.Run(ctx, func(ctx context.Context) error {
		begin := time.Now()
		err := read(ctx, mediaDoor, task.Connections, &document, content)
		took = time.Since(begin)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the file: %w", err)
	}
	if written := content.written.Load(); written != document.Size {
		return fmt.Errorf("%d bytes came instead of %d", written, document.Size)
	}
	digest := sha256.Sum256(content.bytes)
	return say(downloaded{
		Size:    content.written.Load(),
		SHA256:  hex.EncodeToString(digest[:]),
		Name:    name(&document),
		Seconds: took.Seconds(),
	})
}

func (task *downloadTask) home() (dataCentre, error) {
	for _, dc := range task.Session.DCs {
		if dc.ID == task.Session.HomeDC {
			return dc, nil
		}
	}
	return dataCentre{}, errors.New("the session does not name its home")
}

// newClient makes a client that has a key already and uses one address, wherever the servers are
// that it is told of.
func newClient(ctx context.Context, dc dataCentre, address netip.AddrPort, protocol transport.Protocol) (*telegram.Client, error) {
	storage := &session.StorageMemory{}
	loader := session.Loader{Storage: storage}
	id := sha1.Sum(dc.AuthKey)
	data := session.Data{DC: dc.ID, AuthKey: dc.AuthKey, AuthKeyID: id[12:]}
	if err := loader.Save(ctx, &data); err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, address.String())
	}
	return telegram.NewClient(apiID, apiHash, telegram.Options{
		DC:             dc.ID,
		Resolver:       dcs.Plain(dcs.PlainOptions{Protocol: protocol, Dial: dial}),
		SessionStorage: storage,
		NoUpdates:      true,
	}), nil
}

// find fetches the message. The message is of a later layer than this library's, but the document
// in it is not: so that is looked for in the answer.
func find(ctx context.Context, client *telegram.Client, task downloadTask, document *tg.Document) error {
	request := &tg.ChannelsGetMessagesRequest{
		Channel: &tg.InputChannel{ChannelID: task.ChannelID},
		ID:      []tg.InputMessageClass{&tg.InputMessageID{ID: task.MessageID}},
	}
	var answer raw
	if err := client.Invoke(ctx, request, &answer); err != nil {
		return err
	}
	at := bytes.Index(answer, binary.LittleEndian.AppendUint32(nil, tg.DocumentTypeID))
	if at < 0 {
		return errors.New("the message holds no document")
	}
	return document.Decode(&bin.Buffer{Buf: answer[at:]})
}

func read(ctx context.Context, client *telegram.Client, connections int64, document *tg.Document, content *memory) error {
	pool, err := client.Pool(connections)
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = downloader.NewDownloader().
		WithPartSize(partSize).
		Download(tg.NewClient(pool), document.AsInputDocumentFileLocation()).
		WithThreads(threads).
		Parallel(ctx, content)
	return err
}

func name(document *tg.Document) string {
	for _, attribute := range document.Attributes {
		if filename, ok := attribute.(*tg.DocumentAttributeFilename); ok {
			return filename.FileName
		}
	}
	return ""
}

// raw takes an answer as it is.
type raw []byte

func (answer *raw) Decode(buffer *bin.Buffer) error {
	*answer = bytes.Clone(buffer.Buf)
	return nil
}

// memory is a file of known size; without room for bytes, it only counts them.
type memory struct {
	bytes   []byte
	written atomic.Int64
}

func (content *memory) WriteAt(piece []byte, offset int64) (int, error) {
	if content.bytes == nil {
		content.written.Add(int64(len(piece)))
		return len(piece), nil
	}
	if offset+int64(len(piece)) > int64(len(content.bytes)) {
		return 0, fmt.Errorf("%d bytes at %d are beyond the end of the file", len(piece), offset)
	}
	content.written.Add(int64(len(piece)))
	return copy(content.bytes[offset:], piece), nil
}
