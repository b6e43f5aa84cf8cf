#!/bin/sh
# Registers the Temporal namespace and the typed search attributes of taskroll's workflows. To run it again changes
# nothing: a namespace that exists keeps its retention, an attribute of the right type is left alone, one of another type
# ends the script.
#
# Reads TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, the CLI's own variables, and TASKROLL_RETENTION (such as 720h): how long
# the history of an ended update stays readable in Temporal. The TaskUpdate records in Kubernetes stay for good.
set -eu
: "${TEMPORAL_ADDRESS:?}" "${TEMPORAL_NAMESPACE:?}" "${TASKROLL_RETENTION:?}"

ATTRIBUTES="
TaskrollPhase=Keyword
TaskrollDefinitions=KeywordList
TaskrollRequestedBy=Keyword
TaskrollCommit=Keyword
TaskrollNamespace=Keyword
"

ATTEMPTS=60

# A server that has just started, or a namespace that has just been made, is not known everywhere at once.
patiently() {
    attempt=1
    until "$@"; do
        [ "$attempt" -lt "$ATTEMPTS" ] || { echo "namespace: gave up on: $*" >&2; exit 1; }
        attempt=$((attempt + 1))
        sleep 1
    done
}

healthy() {
    temporal operator cluster health >/dev/null 2>&1
}

registered() {
    temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
        temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$TASKROLL_RETENTION" >/dev/null
}

list_attributes() {
    known=$(temporal operator search-attribute list)
}

type_of() {
    echo "$known" | awk -v name="$1" '$1 == name { print $2 }'
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
    list_attributes || return 1
    check_types
    set --
    for attribute in $ATTRIBUTES; do
        [ -n "$(type_of "${attribute%=*}")" ] || set -- "$@" --name "${attribute%=*}" --type "${attribute#*=}"
    done
    [ "$#" -gt 0 ] || return 0
    # Not complete before a list shows them: a workflow that names an unknown attribute cannot start.
    temporal operator search-attribute create "$@" >/dev/null || true
    return 1
}

echo "namespace: waiting for Temporal at $TEMPORAL_ADDRESS"
patiently healthy
patiently registered
patiently complete
echo "namespace: $TEMPORAL_NAMESPACE is ready, with $(echo $ATTRIBUTES)"
