package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/gotd/td/tgtest"
	"github.com/gotd/td/transport"
)

const (
	homeDC   = 2
	otherDC  = 4
	rsaBits  = 2048
	msgsAck  = 0x62d6b459
	pageSize = 4 << 10
	window   = 1 << 20
)

// serveTask says what there is to be had.
type serveTask struct {
	Files []*file `json:"files"`
}

// file is the document of a message, whose number is the file's.
type file struct {
	ID   int64  `json:"id"`
	Path string `json:"path"`
	DC   int    `json:"dc"`
	// Packed files come in gzip_packed answers.
	Packed bool `json:"packed"`
	// Refusal is what pieces of the file are refused with, if they are.
	Refusal *refusal `json:"refusal"`

	content *os.File
	size    int64
	// The reference issued last is the only one that counts.
	reference uint64
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
		if err := file.open(); err != nil {
			return err
		}
		referee.files[file.ID] = file
	}
	private, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return err
	}
	handler := tgtest.UnpackInvoke(referee.dispatcher())
	server := tgtest.NewServer(tgtest.NewPrivateKey(private), handler, tgtest.ServerOptions{DC: homeDC})
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

func (file *file) open() error {
	content, err := os.Open(file.Path)
	if err != nil {
		return err
	}
	about, err := content.Stat()
	if err != nil {
		return err
	}
	file.content, file.size = content, about.Size()
	return nil
}

// agree lets a client make a key with the server, and returns that key.
func (referee *referee) agree(ctx context.Context, public telegram.PublicKey) ([]byte, error) {
	client := telegram.NewClient(apiID, apiHash, telegram.Options{
		DC:         homeDC,
		DCList:     dcs.List{Options: referee.options()},
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

// options are the addresses of two data centres, each with a door for files: all the same.
func (referee *referee) options() []tg.DCOption {
	var options []tg.DCOption
	for _, id := range []int{homeDC, otherDC} {
		for _, mediaOnly := range []bool{false, true} {
			options = append(options, tg.DCOption{
				ID:        id,
				MediaOnly: mediaOnly,
				IPAddress: referee.address.IP.String(),
				Port:      referee.address.Port,
			})
		}
	}
	return options
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
		Result(tg.UpdatesGetStateRequestTypeID, &tg.UpdatesState{}).
		HandleFunc(tg.ChannelsGetMessagesRequestTypeID, referee.getMessages).
		HandleFunc(tg.UploadGetFileRequestTypeID, referee.getFile).
		HandleFunc(msgsAck, func(*tgtest.Server, *tgtest.Request) error { return nil }).
		Fallback(tgtest.HandlerFunc(unknown))
}

// getConfig answers help.getConfig, which is every client's first call; the very first is that of
// the client that makes the key.
func (referee *referee) getConfig(server *tgtest.Server, request *tgtest.Request) error {
	key := request.Session.AuthKey.Value
	select {
	case referee.agreed <- key[:]:
	default:
	}
	return server.SendResult(request, &tg.Config{ThisDC: homeDC, DCOptions: referee.options()})
}

// getMessages answers channels.getMessages with the documents of those numbers, each with a new
// file reference.
func (referee *referee) getMessages(server *tgtest.Server, request *tgtest.Request) error {
	var call tg.ChannelsGetMessagesRequest
	if err := call.Decode(request.Buf); err != nil {
		return err
	}
	channel, ok := call.Channel.(*tg.InputChannel)
	if !ok {
		return tgerr.New(400, "CHANNEL_INVALID")
	}
	found := channelMessages{channelID: channel.ChannelID}
	referee.mutex.Lock()
	defer referee.mutex.Unlock()
	for _, id := range call.ID {
		number, ok := id.(*tg.InputMessageID)
		if !ok {
			return tgerr.New(400, "MESSAGE_ID_INVALID")
		}
		if file, ok := referee.files[int64(number.ID)]; ok {
			file.reference++
			found.documents = append(found.documents, file.document())
		}
	}
	return server.SendResult(request, found)
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
	if !ok || location.AccessHash != file.accessHash() {
		return nil, tgerr.New(400, "FILE_ID_INVALID")
	}
	if string(location.FileReference) != string(file.fileReference()) {
		return nil, tgerr.New(400, "FILE_REFERENCE_EXPIRED")
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

func (file *file) accessHash() int64 {
	return -file.ID
}

func (file *file) fileReference() []byte {
	return binary.LittleEndian.AppendUint64(nil, file.reference)
}

func (file *file) document() *tg.Document {
	return &tg.Document{
		ID:            file.ID,
		AccessHash:    file.accessHash(),
		FileReference: file.fileReference(),
		MimeType:      "application/octet-stream",
		Size:          file.size,
		DCID:          file.DC,
	}
}

// channelMessages is a messages.channelMessages of layer 230, where messages and their media have
// other constructors than this library's.
type channelMessages struct {
	channelID int64
	documents []*tg.Document
}

func (found channelMessages) Encode(buffer *bin.Buffer) error {
	const (
		message              = 0x7600b9d3
		messageHasMedia      = 1 << 9
		messageMediaDocument = 0x52d8ccd9
		mediaHasDocument     = 1 << 0
	)
	buffer.PutID(tg.MessagesChannelMessagesTypeID)
	buffer.PutInt(0) // flags
	buffer.PutInt(1) // pts
	buffer.PutInt(len(found.documents))
	buffer.PutVectorHeader(len(found.documents))
	for _, document := range found.documents {
		buffer.PutID(message)
		buffer.PutInt(messageHasMedia)
		buffer.PutInt(0) // flags2
		buffer.PutInt(int(document.ID))
		peer := tg.PeerChannel{ChannelID: found.channelID}
		if err := peer.Encode(buffer); err != nil {
			return err
		}
		buffer.PutInt(0) // date
		buffer.PutString("")
		buffer.PutID(messageMediaDocument)
		buffer.PutInt(mediaHasDocument)
		if err := document.Encode(buffer); err != nil {
			return err
		}
	}
	buffer.PutVectorHeader(0) // topics
	buffer.PutVectorHeader(0) // chats
	buffer.PutVectorHeader(0) // users
	return nil
}
