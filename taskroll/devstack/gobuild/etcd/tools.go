//go:build tools

// Package tools pins etcd's server; it is never compiled itself.
package tools

import _ "go.etcd.io/etcd/server/v3"
