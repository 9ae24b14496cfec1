/*
** Tells how a real SQLite header lays out what src/host/ffi.rs declares.
**
** tests/layout.rs writes "layout_names.h", one SIZE, OFFSET or VALUE line for each thing that ffi.rs declares, compiles this
** file with the sqlite3ext.h of libsqlite3-sys, runs it and compares. A name that the header does not have does not compile.
*/
#include <stddef.h>
#include <stdio.h>

#include "sqlite3ext.h"
SQLITE_EXTENSION_INIT1

/* In C these are declared inside sqlite3_index_info. */
typedef struct sqlite3_index_constraint sqlite3_index_constraint;
typedef struct sqlite3_index_orderby sqlite3_index_orderby;
typedef struct sqlite3_index_constraint_usage sqlite3_index_constraint_usage;

#define SIZE(type) printf("sizeof(%s) %lld\n", #type, (long long)sizeof(type));
#define OFFSET(type, field) printf("%s.%s %lld\n", #type, #field, (long long)offsetof(type, field));
#define VALUE(name) printf("%s %lld\n", #name, (long long)(name));

int main(void) {
#include "layout_names.h"
  return sqlite3_api != 0;
}
