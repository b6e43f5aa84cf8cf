package main

import (
	"bytes"
	"os"
	"strings"
	"text/template"
)

// filledTemplate does for Temporal's configuration what the entry point of its image does: a Go template over `.Env`, with
// the functions that this template uses and Go does not have.
func filledTemplate(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	functions := template.FuncMap{
		// An absent variable reaches it as nil.
		"default": func(value any, fallback string) any {
			if value == nil {
				return fallback
			}
			return value
		},
		"lower": strings.ToLower,
		"split": strings.Split,
		"trim":  strings.TrimSpace,
	}
	parsed, err := template.New(path).Funcs(functions).Parse(string(text))
	if err != nil {
		return nil, err
	}
	environment := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		environment[name] = value
	}
	var filled bytes.Buffer
	err = parsed.Execute(&filled, map[string]any{"Env": environment})
	return filled.Bytes(), err
}
