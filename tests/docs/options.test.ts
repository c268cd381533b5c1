// client/README.md lists the provider's options with the defaults of the code.
import ts from 'typescript'
import { expect, test } from 'vitest'
import { code, read, table } from '../support/pages.ts'

const source = ts.createSourceFile('options.ts', read('client/src/options.ts'), ts.ScriptTarget.Latest, true)
const interfaces = new Map(source.statements.filter(ts.isInterfaceDeclaration).map((one) => [one.name.text, one]))

/** Each option with its `@default`. A dot joins a group and its member. */
const options = new Map(
  ['ProxyOptions', 'HybridOptions', 'CommonOptions'].flatMap((name) => members(interfaces.get(name)!)),
)
const documented = new Map(
  table(read('client/README.md'), 'Option').map(([name, value]) => [code(name)[0] ?? '', code(value)[0]]),
)

test('the page lists every option, and no other', () => {
  expect([...documented.keys()].sort()).toEqual([...options.keys()].sort())
})

test('the page has the defaults of the code', () => {
  const defaults = [...options].filter(([, said]) => said !== undefined)
  expect(defaults.length).toBeGreaterThan(15)
  // Words may follow the value of `@default`
  const others = defaults.filter(
    ([name, said]) => documented.get(name) === undefined || !said!.startsWith(documented.get(name)!),
  )
  expect(others.map(([name, said]) => [name, said, documented.get(name)])).toEqual([])
})

function members(node: ts.InterfaceDeclaration | ts.TypeLiteralNode, prefix = ''): [string, string | undefined][] {
  return node.members.filter(ts.isPropertySignature).flatMap((member): [string, string | undefined][] => {
    const name = prefix + member.name.getText()
    const { type } = member
    if (type === undefined || type.kind === ts.SyntaxKind.NeverKeyword) return []
    const group = ts.isTypeReferenceNode(type)
      ? interfaces.get(type.typeName.getText())
      : ts.isTypeLiteralNode(type)
        ? type
        : undefined
    return group === undefined ? [[name, defaultOf(member)]] : members(group, `${name}.`)
  })
}

function defaultOf(member: ts.PropertySignature): string | undefined {
  const tag = ts.getJSDocTags(member).find(({ tagName }) => tagName.text === 'default')
  return ts.getTextOfJSDocComment(tag?.comment)?.trim()
}
