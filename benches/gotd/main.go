// Downloads one file with gotd's own parallel downloader and throws it away.
//
// The task comes as JSON in the first argument; it says where the file is, because this client is
// too old to read the messages of today. Printed is what was moved, and in what time once the client
// was connected: {"bytes": ..., "seconds": ...}.
package main

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/telegram/downloader"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"
)

const pieceSize = 512 << 10

type task struct {
	Session struct {
		HomeDC int      `json:"homeDc"`
		DCs    []centre `json:"dcs"`
	} `json:"session"`
	Size     int64 `json:"size"`
	Location struct {
		ID            int64  `json:"id"`
		AccessHash    int64  `json:"accessHash"`
		FileReference []byte `json:"fileReference"`
	} `json:"location"`
	Threads int `json:"threads"`
}

type centre struct {
	ID      int    `json:"id"`
	Address string `json:"ipv4"`
	AuthKey []byte `json:"authKey"`
}

type result struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("the task is missing: one argument, JSON")
	}
	var asked task
	if err := json.Unmarshal([]byte(os.Args[1]), &asked); err != nil {
		log.Fatalf("the task is malformed: %v", err)
	}
	moved, err := run(context.Background(), asked)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(moved); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, asked task) (moved result, err error) {
	client, err := newClient(ctx, asked)
	if err != nil {
		return result{}, err
	}
	err = client.Run(ctx, func(ctx context.Context) error {
		pool, err := client.Pool(int64(asked.Threads))
		if err != nil {
			return fmt.Errorf("no pool: %w", err)
		}
		defer pool.Close()
		begin := time.Now()
		var discarded counter
		_, err = downloader.NewDownloader().
			WithPartSize(pieceSize).
			Download(tg.NewClient(pool), &tg.InputDocumentFileLocation{
				ID:            asked.Location.ID,
				AccessHash:    asked.Location.AccessHash,
				FileReference: asked.Location.FileReference,
			}).
			WithThreads(asked.Threads).
			Parallel(ctx, &discarded)
		if err != nil {
			return fmt.Errorf("download: %w", err)
		}
		moved = result{Bytes: discarded.bytes.Load(), Seconds: time.Since(begin).Seconds()}
		if moved.Bytes != asked.Size {
			return fmt.Errorf("%d bytes came of a file of %d", moved.Bytes, asked.Size)
		}
		return nil
	})
	return moved, err
}

func newClient(ctx context.Context, asked task) (*telegram.Client, error) {
	home, err := asked.home()
	if err != nil {
		return nil, err
	}
	host, portText, err := net.SplitHostPort(home.Address)
	if err != nil {
		return nil, fmt.Errorf("home's address: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("home's port: %w", err)
	}
	keyHash := sha1.Sum(home.AuthKey)
	storage := &session.StorageMemory{}
	loader := session.Loader{Storage: storage}
	err = loader.Save(ctx, &session.Data{
		DC:        home.ID,
		Addr:      home.Address,
		AuthKey:   home.AuthKey,
		AuthKeyID: keyHash[12:],
	})
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return telegram.NewClient(1, "hash", telegram.Options{
		DC:             home.ID,
		DCList:         dcs.List{Options: []tg.DCOption{{ID: home.ID, IPAddress: host, Port: port}}},
		Resolver:       dcs.Plain(dcs.PlainOptions{Protocol: transport.Full}),
		NoUpdates:      true,
		SessionStorage: storage,
	}), nil
}

func (asked task) home() (centre, error) {
	for _, dc := range asked.Session.DCs {
		if dc.ID == asked.Session.HomeDC {
			return dc, nil
		}
	}
	return centre{}, fmt.Errorf("the session has no key for its home, data centre %d", asked.Session.HomeDC)
}

// counter counts what is written to it, and keeps nothing.
type counter struct {
	bytes atomic.Int64
}

func (c *counter) WriteAt(piece []byte, _ int64) (int, error) {
	c.bytes.Add(int64(len(piece)))
	return len(piece), nil
}
