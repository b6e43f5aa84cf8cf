#!/bin/sh
# Registers the Temporal namespace and the typed search attributes of taskroll's workflows. To run it again changes
# nothing: a namespace that exists keeps its retention, an attribute of the right type is left alone, one of another type
# ends the script.
#
# Reads TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, the CLI's own variables, and TASKROLL_RETENTION (such as 720h): how long
# the history of an ended update stays readable in Temporal. The TaskUpdate records in Kubernetes stay for good. ATTEMPTS,
# one a second, is how long it waits for each thing.
set -eu
: "${TEMPORAL_ADDRESS:?}" "${TEMPORAL_NAMESPACE:?}" "${TASKROLL_RETENTION:?}"

ATTRIBUTES="
TaskrollPhase=Keyword
TaskrollDefinitions=KeywordList
TaskrollRequestedBy=Keyword
TaskrollCommit=Keyword
TaskrollNamespace=Keyword
"

# A server that has just started, or a namespace that has just been made, is not known everywhere at once.
patiently() {
    attempt=1
    until "$@"; do
        if [ "$attempt" -ge "${ATTEMPTS:-60}" ]; then
            echo "namespace: not $1 after $attempt attempts: $said" >&2
            exit 1
        fi
        attempt=$((attempt + 1))
        sleep 1
    done
}

healthy() {
    said=$(temporal operator cluster health 2>&1)
}

registered() {
    said=$(temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" 2>&1) ||
        said=$(temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" \
            --retention "$TASKROLL_RETENTION" 2>&1)
}

type_of() {
    echo "$said" | awk -v name="$1" '$1 == name { print $2 }'
}

check_types() {
    for attribute in $ATTRIBUTES; do
        name=${attribute%=*} wanted=${attribute#*=} actual=$(type_of "${attribute%=*}")
        if [ -n "$actual" ] && [ "$actual" != "$wanted" ]; then
            echo "namespace: search attribute $name is of type $actual, taskroll needs $wanted: remove it" \
                "(temporal operator search-attribute remove --name $name) or use another Temporal namespace" >&2
            exit 1
        fi
    done
}

complete() {
    said=$(temporal operator search-attribute list 2>&1) || return 1
    check_types
    set --
    for attribute in $ATTRIBUTES; do
        [ -n "$(type_of "${attribute%=*}")" ] || set -- "$@" --name "${attribute%=*}" --type "${attribute#*=}"
    done
    [ "$#" -gt 0 ] || return 0
    # Not complete before a list shows them: a workflow that names an unknown attribute cannot start.
    said=$(temporal operator search-attribute create "$@" 2>&1) || true
    return 1
}

echo "namespace: waiting for Temporal at $TEMPORAL_ADDRESS"
patiently healthy
patiently registered
patiently complete
echo "namespace: $TEMPORAL_NAMESPACE is ready, with $(echo $ATTRIBUTES)"
