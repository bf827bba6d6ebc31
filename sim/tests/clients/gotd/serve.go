package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/gotd/td/tgtest"
	"github.com/gotd/td/transport"
)

const (
	serverDC = 4
	rsaBits  = 2048
	msgsAck  = 0x62d6b459
	pageSize = 4 << 10
	window   = 1 << 20
)

// serveTask says what there is to be had.
type serveTask struct {
	Files []*file `json:"files"`
}

// file is a document.
type file struct {
	ID   int64  `json:"id"`
	Path string `json:"path"`
	// Packed files come in gzip_packed answers.
	Packed bool `json:"packed"`
	// Refusal is what pieces of the file are refused with, if they are.
	Refusal *refusal `json:"refusal"`

	content *os.File
}

// refusal is an error in place of so many answers.
type refusal struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Times   int    `json:"times"`
}

// serving is where the server is reached, and the key that it has agreed on with a client.
type serving struct {
	Address string `json:"address"`
	AuthKey []byte `json:"authKey"`
}

// served is what was asked of it.
type served struct {
	// Sessions that called upload.getFile; there is one on each connection.
	Sessions int `json:"sessions"`
}

// referee is the server's memory.
type referee struct {
	address *net.TCPAddr
	agreed  chan []byte

	mutex    sync.Mutex
	files    map[int64]*file
	sessions map[int64]struct{}
}

// serve runs a server until stdin ends, agrees on a key with a client of its own, and says first
// how to reach the server, and at last what was asked of it.
func serve(ctx context.Context, task serveTask) error {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	referee := &referee{
		address:  listener.Addr().(*net.TCPAddr),
		agreed:   make(chan []byte, 1),
		files:    map[int64]*file{},
		sessions: map[int64]struct{}{},
	}
	for _, file := range task.Files {
		if file.content, err = os.Open(file.Path); err != nil {
			return err
		}
		referee.files[file.ID] = file
	}
	private, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return err
	}
	handler := tgtest.UnpackInvoke(referee.dispatcher())
	server := tgtest.NewServer(tgtest.NewPrivateKey(private), handler, tgtest.ServerOptions{DC: serverDC})
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(ctx, transport.Listen(listener)) }()
	key, err := referee.agree(ctx, server.Key())
	if err != nil {
		return fmt.Errorf("agreeing on a key: %w", err)
	}
	if err := say(serving{Address: referee.address.String(), AuthKey: key}); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	if err := <-ended; err != nil {
		return err
	}
	return say(referee.served())
}

// agree lets a client make a key with the server, and returns that key.
func (referee *referee) agree(ctx context.Context, public telegram.PublicKey) ([]byte, error) {
	client := telegram.NewClient(apiID, apiHash, telegram.Options{
		DC:         serverDC,
		DCList:     dcs.List{Options: referee.config().DCOptions},
		Resolver:   dcs.Plain(dcs.PlainOptions{}),
		PublicKeys: []telegram.PublicKey{public},
		NoUpdates:  true,
	})
	err := client.Run(ctx, func(context.Context) error { return nil })
	if err != nil {
		return nil, err
	}
	return <-referee.agreed, nil
}

// config says where the server is.
func (referee *referee) config() *tg.Config {
	return &tg.Config{
		ThisDC: serverDC,
		DCOptions: []tg.DCOption{{
			ID:        serverDC,
			IPAddress: referee.address.IP.String(),
			Port:      referee.address.Port,
		}},
	}
}

func (referee *referee) served() served {
	referee.mutex.Lock()
	defer referee.mutex.Unlock()
	return served{Sessions: len(referee.sessions)}
}

func (referee *referee) dispatcher() *tgtest.Dispatcher {
	unknown := func(_ *tgtest.Server, request *tgtest.Request) error {
		id, err := request.Buf.PeekID()
		log.Printf("method %#x is not known (%v)", id, err)
		return tgerr.New(400, "INPUT_METHOD_INVALID")
	}
	return tgtest.NewDispatcher().
		HandleFunc(tg.HelpGetConfigRequestTypeID, referee.getConfig).
		HandleFunc(tg.UploadGetFileRequestTypeID, referee.getFile).
		HandleFunc(msgsAck, func(*tgtest.Server, *tgtest.Request) error { return nil }).
		Fallback(tgtest.HandlerFunc(unknown))
}

// getConfig answers help.getConfig, which is the first call of the client that makes the key.
func (referee *referee) getConfig(server *tgtest.Server, request *tgtest.Request) error {
	key := request.Session.AuthKey.Value
	select {
	case referee.agreed <- key[:]:
	default:
	}
	return server.SendResult(request, referee.config())
}

// getFile answers upload.getFile. Answers overtake each other.
func (referee *referee) getFile(server *tgtest.Server, request *tgtest.Request) error {
	var call tg.UploadGetFileRequest
	if err := call.Decode(request.Buf); err != nil {
		return err
	}
	file, err := referee.admit(&call, request.Session.ID)
	if err != nil {
		return err
	}
	piece := make([]byte, call.Limit)
	read, err := file.content.ReadAt(piece, call.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	send := server.SendResult
	if file.Packed {
		send = server.SendGZIP
	}
	answer := &tg.UploadFile{Type: &tg.StorageFilePartial{}, Bytes: piece[:read]}
	go func() {
		if err := send(request, answer); err != nil {
			log.Print(err)
		}
	}()
	return nil
}

// admit finds the file of a call that keeps the rules of https://core.telegram.org/api/files.
func (referee *referee) admit(call *tg.UploadGetFileRequest, session int64) (*file, error) {
	referee.mutex.Lock()
	defer referee.mutex.Unlock()
	referee.sessions[session] = struct{}{}
	location, ok := call.Location.(*tg.InputDocumentFileLocation)
	if !ok {
		return nil, tgerr.New(400, "LOCATION_INVALID")
	}
	file, ok := referee.files[location.ID]
	if !ok {
		return nil, tgerr.New(400, "FILE_ID_INVALID")
	}
	limit := int64(call.Limit)
	switch {
	case call.Offset < 0 || call.Offset%pageSize != 0:
		return nil, tgerr.New(400, "OFFSET_INVALID")
	case limit <= 0 || limit%pageSize != 0 || window%limit != 0:
		return nil, tgerr.New(400, "LIMIT_INVALID")
	case call.Offset/window != (call.Offset+limit-1)/window:
		return nil, tgerr.New(400, "LIMIT_INVALID")
	}
	if refusal := file.Refusal; refusal != nil && refusal.Times > 0 {
		refusal.Times--
		return nil, tgerr.New(refusal.Code, refusal.Message)
	}
	return file, nil
}
