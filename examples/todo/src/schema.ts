import { Events, makeSchema, Schema, SessionIdSymbol, State } from '@livestore/livestore'

export const tables = {
  todos: State.SQLite.table({
    name: 'todos',
    columns: {
      id: State.SQLite.text({ primaryKey: true }),
      text: State.SQLite.text(),
      completed: State.SQLite.boolean({ default: false }),
      createdAt: State.SQLite.integer({ schema: Schema.DateFromNumber }),
    },
  }),
  /** The view of one window. It never leaves the device. */
  view: State.SQLite.clientDocument({
    name: 'view',
    schema: Schema.Struct({ filter: Schema.Literal('all', 'active', 'completed') }),
    default: { id: SessionIdSymbol, value: { filter: 'all' } },
  }),
}

/** The events that are synced. Never change an event's name or fields, because the log keeps them forever. */
export const events = {
  todoCreated: Events.synced({
    name: 'v1.TodoCreated',
    schema: Schema.Struct({ id: Schema.String, text: Schema.String, createdAt: Schema.Date }),
  }),
  todoEdited: Events.synced({
    name: 'v1.TodoEdited',
    schema: Schema.Struct({ id: Schema.String, text: Schema.String }),
  }),
  todoCompleted: Events.synced({ name: 'v1.TodoCompleted', schema: Schema.Struct({ id: Schema.String }) }),
  todoReopened: Events.synced({ name: 'v1.TodoReopened', schema: Schema.Struct({ id: Schema.String }) }),
  /** Has the ids that the user saw. A to-do that another device completes meanwhile stays. */
  todosDeleted: Events.synced({ name: 'v1.TodosDeleted', schema: Schema.Struct({ ids: Schema.Array(Schema.String) }) }),
}

const materializers = State.SQLite.materializers(events, {
  'v1.TodoCreated': ({ id, text, createdAt }) => tables.todos.insert({ id, text, createdAt }),
  'v1.TodoEdited': ({ id, text }) => tables.todos.update({ text }).where({ id }),
  'v1.TodoCompleted': ({ id }) => tables.todos.update({ completed: true }).where({ id }),
  'v1.TodoReopened': ({ id }) => tables.todos.update({ completed: false }).where({ id }),
  'v1.TodosDeleted': ({ ids }) => tables.todos.delete().where({ id: { op: 'IN', value: ids } }),
})

export const schema = makeSchema({ events, state: State.SQLite.makeState({ tables, materializers }) })
