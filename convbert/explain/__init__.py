"""What a trained classifier does with a text: kernels, attention, and the words that matter.

``words``        the effect of each word on the answer: integrated gradients, and occlusion
``explanation``  `explain`: these, and the kernels and attention weights of every layer
``pictures``     an explanation as PNG and as HTML

    model, processor = load_classifier("convbert_base_outputs/best.pdparams")
    found = explain(model, processor, "a good film")
    found.words                          words with their effects
    pictures.page_html(found)            a page with all of it
    pictures.layer_png(found, layer=0)   kernels beside attention, bytes of a PNG file

`words.occlude` also works with an exported model, in any engine.
"""
