// Stands in for the binding ASSETS in plain workerd. Each file is a text binding of this Worker.
export default {
  /**
   * @param {Request} request
   * @param {Record<string, unknown>} files
   */
  fetch(request, files) {
    const file = files[new URL(request.url).pathname.slice(1)]
    return typeof file === 'string' ? new Response(file) : new Response(null, { status: 404 })
  },
}
