// deploycheck reads the deployment files with the very libraries of the tools that will read them, without an engine.
//
//	deploycheck compose FILE      the resolved model as JSON, or why Compose would refuse the file
//	deploycheck dockerfile FILE   the linter's findings as JSON, or why BuildKit would refuse the file
//	deploycheck kustomize FOLDER  the objects as YAML, or why kustomize would refuse them
//	deploycheck template FILE     the configuration that Temporal's image makes of its template and the environment
//
// Exit code 0 and the result on stdout; 1 and the reason on stderr; 2 for a wrong call. Nothing is fetched.
package main

import (
	"fmt"
	"os"
)

var commands = map[string]func(path string) ([]byte, error){
	"compose":    composeModel,
	"dockerfile": dockerfileFindings,
	"kustomize":  kustomizeObjects,
	"template":   filledTemplate,
}

func main() {
	if len(os.Args) != 3 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: deploycheck compose|dockerfile|kustomize|template PATH")
		os.Exit(2)
	}
	result, err := commands[os.Args[1]](os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if _, err := os.Stdout.Write(result); err != nil {
		os.Exit(1)
	}
}
