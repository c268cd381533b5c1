// client/README.md against the provider: the same options, the same defaults.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { root } from '../../scripts/lib/tools.mjs'
import { code, read, table } from './pages.ts'

const file = 'client/src/options.ts'
const source = ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest)

/** Names of an interface's members, those of members in it with a dot. */
const members = (node: ts.InterfaceDeclaration | ts.TypeLiteralNode, prefix = ''): string[] =>
  node.members.flatMap((member) => {
    const name = prefix + (member.name as ts.Identifier).text
    const type = ts.isPropertySignature(member) ? member.type : undefined
    return type !== undefined && ts.isTypeLiteralNode(type) ? members(type, `${name}.`) : [name]
  })
const declared = (name: string) => {
  const found = source.statements.find((one) => ts.isInterfaceDeclaration(one) && one.name.text === name)
  return members(found as ts.InterfaceDeclaration)
}

test('it has every option, and no other', () => {
  const options = new Set([...declared('CommonOptions'), ...declared('HybridOptions'), 'upstream.headers'])
  const documented = table(read('client/README.md'), 'Option').flatMap(([option, , text]) => {
    const names = code(option)
    // A group's own are told in the last column.
    const inGroup = code(text).filter((name) => [...options].some((one) => one === `${names[0]}.${name}`)).map((name) => `${names[0]}.${name}`)
    return inGroup.length > 0 ? inGroup : names
  })
  expect(documented.sort()).toEqual([...options].sort())
})
