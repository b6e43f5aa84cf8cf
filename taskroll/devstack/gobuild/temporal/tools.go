//go:build tools

// Package tools pins the Temporal CLI, whose dev server taskroll uses; it is never compiled itself.
package tools

import _ "github.com/temporalio/cli/cmd/temporal"
