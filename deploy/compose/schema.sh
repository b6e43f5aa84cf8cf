#!/bin/sh
# Makes Temporal's two databases and brings their schemas to the version of the temporal-sql-tool that runs this. To run
# it again changes nothing; with a newer tool it is the upgrade, to be done before the server's.
#
# Reads SQL_PLUGIN, SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD, the tool's own variables.
set -eu
: "${SQL_PLUGIN:?}" "${SQL_HOST:?}" "${SQL_PORT:?}" "${SQL_USER:?}" "${SQL_PASSWORD:?}"

bring_up_to_date() {
    echo "schema: database $1, schema $2"
    temporal-sql-tool --database "$1" create-database
    # Only the version tables; skipped by the tool where there is a later version.
    temporal-sql-tool --database "$1" setup-schema --version 0.0
    temporal-sql-tool --database "$1" update-schema --schema-name "$2"
}

bring_up_to_date temporal postgresql/v12/temporal
bring_up_to_date temporal_visibility postgresql/v12/visibility
echo "schema: done"
