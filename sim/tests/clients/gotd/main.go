// Gotd puts github.com/gotd/td on either side of a conversation with this project's own MTProto:
//
//	gotd download TASK   as a client of the stand-in for Telegram
//	gotd serve TASK      as a server, for the product's connections
//
// TASK is a JSON object; each command says which. Results are lines of JSON on stdout.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// Any application may be named: nobody checks it here.
const (
	apiID   = 1
	apiHash = "hash"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gotd:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("two arguments are needed: download or serve, and a task")
	}
	command, task := arguments[0], []byte(arguments[1])
	switch command {
	case "download":
		return perform(task, download)
	case "serve":
		return perform(task, serve)
	default:
		return fmt.Errorf("there is no command %q", command)
	}
}

// perform reads the task of a command and lets the command do it.
func perform[T any](task []byte, command func(context.Context, T) error) error {
	var parsed T
	if err := json.Unmarshal(task, &parsed); err != nil {
		return fmt.Errorf("the task is malformed: %w", err)
	}
	return command(context.Background(), parsed)
}

// say prints a line of JSON.
func say(result any) error {
	return json.NewEncoder(os.Stdout).Encode(result)
}
