// Depth & Normals in ComfyUI's page, which asks for each file here that ends in .js. The server answers with this one and all that it
// imports, joined (nodes/live.py): one request, with the headers by which browsers ask again after an update, which .mjs files lack.

// Its images stand above the row of messages.
import './views.mjs'
import './messages.mjs'
import './choices.mjs'
import './colours.mjs'
import './light_widgets.mjs'
import './old_ids.mjs'
import './search.mjs'
import './templates.mjs'
import './upload.mjs'
